package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"gopkg.in/yaml.v3"

	"github.com/sealpost/sealpost"
	"github.com/sealpost/sealpost/api"
)

// Config is the relay's configuration, one YAML file. These comments are its
// manual. Unknown keys are faults; relative paths are relative to the file.
type Config struct {
	// Data is the relay's folder: sealpost.db, spool/, log/, log.vkey.
	Data string `yaml:"data"`
	// Keys is the folder of the relay's keys. It must not lie in Data, so that
	// a stolen data folder opens nothing. Default: Data with ".keys" appended.
	Keys string `yaml:"keys"`
	// Guard is the folder where the relay remembers the last head of the log that
	// its key signed, so that an older copy of the log is never signed. It must
	// lie neither in Data nor in Keys, and be in no backup: a restored guard has
	// forgotten what was signed since. The log's key is bound to it; sealpost log
	// guard tells it anew. Default: Data with ".guard" appended.
	Guard string `yaml:"guard"`
	// Listen is the address of the API. Default 127.0.0.1:8484. An address
	// that is not loopback needs tls.
	Listen string `yaml:"listen"`
	// URL is how senders and devices reach the API, where that differs from
	// Listen (behind a proxy). Request signatures are over it.
	URL string `yaml:"url"`
	// TLS is a certificate and its key, both PEM files.
	TLS *TLSConfig `yaml:"tls"`
	// Origin is the log's name, for ever. Default: sealpost.local/<name of Data>.
	Origin string `yaml:"origin"`
	// CheckpointMS is the time between checkpoints, 100 to 60000. Default 1000.
	CheckpointMS uint32 `yaml:"checkpoint_ms"`
	// Tenants are the businesses that this relay serves.
	Tenants []TenantConfig `yaml:"tenants"`
	// FCM is the Firebase project that reaches the devices. Without it devices
	// must ask by themselves.
	FCM *FCMConfig `yaml:"fcm"`
}

// TLSConfig names PEM files.
type TLSConfig struct {
	Cert string `yaml:"cert"`
	Key  string `yaml:"key"`
}

// TenantConfig is one business.
type TenantConfig struct {
	// App is its id, 1 to 64 printable characters without a space.
	App string `yaml:"app"`
	// SenderKeys are the ids of the signing keys that may enrol themselves for
	// it, 64 hexadecimal digits each (sealpost key show prints them).
	SenderKeys []string `yaml:"sender_keys"`
	// APIKeys are keys by the SHA-256 of their secret; more are made at run time.
	APIKeys []APIKeyConfig `yaml:"api_keys"`
}

// APIKeyConfig is one API key.
type APIKeyConfig struct {
	Name string `yaml:"name"`
	// SHA256 is of the secret, 64 hexadecimal digits.
	SHA256 string `yaml:"sha256"`
	// Scopes are of send, read, enrol, manage.
	Scopes []string `yaml:"scopes"`
}

// FCMConfig is one Firebase project.
type FCMConfig struct {
	// ServiceAccount is the JSON file that Google gives out.
	ServiceAccount string `yaml:"service_account"`
	// URL is the API's base, for a conformance server. Default
	// https://fcm.googleapis.com.
	URL string `yaml:"url"`
}

// configMax bounds a configuration file, bytes.
const configMax = 1 << 20

const (
	defaultListen       = "127.0.0.1:8484"
	defaultCheckpointMS = 1000
)

// readConfig reads, completes and checks a file. It opens nothing else, so
// that `sealpost config check` tells the truth anywhere. A fault in it is one of
// usage; a file that cannot be read is not.
func readConfig(path string) (Config, error) {
	f, err := os.Open(path)
	if err != nil {
		return Config{}, fmt.Errorf("read configuration: %w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, configMax+1))
	if err != nil {
		return Config{}, fmt.Errorf("read configuration: %w", err)
	}
	if len(b) > configMax {
		return Config{}, usage("configuration %s: larger than %d bytes", path, configMax)
	}
	c, err := parseConfig(b, filepath.Dir(path))
	if err != nil {
		return Config{}, usage("configuration %s:\n%w", path, err)
	}
	return c, nil
}

func parseConfig(b []byte, dir string) (Config, error) {
	var c Config
	d := yaml.NewDecoder(bytes.NewReader(b))
	d.KnownFields(true)
	err := d.Decode(&c)
	unknown, ok := errors.AsType[*yaml.TypeError](err)
	if err != nil && !ok && !errors.Is(err, io.EOF) {
		return c, fmt.Errorf("not YAML: %s", strings.TrimPrefix(err.Error(), "yaml: "))
	}
	if err := d.Decode(new(any)); !errors.Is(err, io.EOF) {
		return c, errors.New("more than one YAML document")
	}
	for _, p := range c.paths() {
		if *p != "" && !filepath.IsAbs(*p) {
			*p = filepath.Join(dir, *p)
		}
	}
	c, err = c.complete()
	return c, errors.Join(keyFaults(unknown), err)
}

// unknownKey is how the YAML decoder tells of a key that a struct has not.
var unknownKey = regexp.MustCompile(`^line (\d+): field (\S+) not found in type \S+$`)

// keyFaults says of each key and value that does not fit what to do, without the
// names of our types.
func keyFaults(e *yaml.TypeError) error {
	if e == nil {
		return nil
	}
	var faults []error
	for _, text := range e.Errors {
		if m := unknownKey.FindStringSubmatch(text); m != nil {
			text = fmt.Sprintf("line %s: %s: there is no such key; remove it or mend its name", m[1], m[2])
		}
		faults = append(faults, errors.New(text))
	}
	return errors.Join(faults...)
}

// paths are the members that name files.
func (c *Config) paths() []*string {
	out := []*string{&c.Data, &c.Keys, &c.Guard}
	if c.TLS != nil {
		out = append(out, &c.TLS.Cert, &c.TLS.Key)
	}
	if c.FCM != nil {
		out = append(out, &c.FCM.ServiceAccount)
	}
	return out
}

// complete fills defaults and reports every fault at once, each with its mend.
func (c Config) complete() (Config, error) {
	if c.Data == "" {
		return c, errors.New("data: missing; name the relay's folder")
	}
	c.Data = filepath.Clean(c.Data)
	if c.Keys == "" {
		c.Keys = c.Data + ".keys"
	}
	if c.Guard == "" {
		c.Guard = c.Data + ".guard"
	}
	if c.Listen == "" {
		c.Listen = defaultListen
	}
	if c.Origin == "" {
		c.Origin = "sealpost.local/" + filepath.Base(c.Data)
	}
	if c.CheckpointMS == 0 {
		c.CheckpointMS = defaultCheckpointMS
	}
	if c.FCM != nil && c.FCM.URL == "" {
		c.FCM.URL = "https://fcm.googleapis.com"
	}
	faults := []error{
		want(!within(c.Keys, c.Data), "keys: lies in data; a stolen data folder would open itself"),
		want(!within(c.Guard, c.Data) && !within(c.Guard, c.Keys), "guard: lies in data or keys; a restored backup would take it back too"),
		want(isOrigin(c.Origin), "origin: 1 to 128 characters without spaces or plus signs, such as log.example.com/2026"),
		want(c.CheckpointMS >= 100 && c.CheckpointMS <= 60000, "checkpoint_ms: want 100 to 60000"),
		c.checkListen(),
	}
	seen := map[string]bool{}
	for _, t := range c.Tenants {
		faults = append(faults, want(!seen[t.App], "tenants: %q stands twice", t.App), t.check())
		seen[t.App] = true
	}
	if c.FCM != nil {
		faults = append(faults, want(c.FCM.ServiceAccount != "", "fcm.service_account: missing; name the JSON file"), checkURL("fcm.url", c.FCM.URL))
	}
	return c, errors.Join(faults...)
}

func (c Config) checkListen() error {
	host, _, err := net.SplitHostPort(c.Listen)
	if err != nil {
		return fmt.Errorf("listen: %q is not host:port; try %q", c.Listen, defaultListen)
	}
	if c.TLS == nil && !isLoopback(host) {
		return fmt.Errorf("listen: %q is not loopback and there is no tls; add tls.cert and tls.key", c.Listen)
	}
	if c.TLS != nil && (c.TLS.Cert == "" || c.TLS.Key == "") {
		return errors.New("tls: name both cert and key")
	}
	if c.URL != "" {
		return checkURL("url", c.URL)
	}
	return nil
}

func (t TenantConfig) check() error {
	faults := []error{want(sealpost.IsName(t.App), "tenants: app %q: want 1 to %d printable characters without a space", t.App, sealpost.NameMax)}
	for _, k := range t.SenderKeys {
		_, err := sealpost.ParseKeyID(k)
		faults = append(faults, want(err == nil, "tenants: %s: sender key %q is not 64 hexadecimal digits", t.App, k))
	}
	for _, k := range t.APIKeys {
		_, err := sealpost.ParseKeyID(k.SHA256) // the same form: 64 hexadecimal digits
		faults = append(faults,
			want(sealpost.IsName(k.Name), "tenants: %s: an API key has no proper name", t.App),
			want(err == nil, "tenants: %s: API key %s: sha256 is not 64 hexadecimal digits", t.App, k.Name))
		_, err = api.ParseScopes(k.Scopes)
		faults = append(faults, want(err == nil, "tenants: %s: API key %s: want scopes of send, read, enrol and manage, at least one and none twice", t.App, k.Name))
	}
	return errors.Join(faults...)
}

func want(ok bool, format string, args ...any) error {
	if ok {
		return nil
	}
	return fmt.Errorf(format, args...)
}

// within says whether path lies in dir or is dir.
func within(path, dir string) bool {
	rel, err := filepath.Rel(dir, path)
	return err == nil && rel != ".." && !strings.HasPrefix(rel, ".."+string(filepath.Separator))
}

// isOrigin follows C2SP signed-note: a key name is not empty and holds neither
// a space nor a plus sign.
func isOrigin(s string) bool {
	return len(s) > 0 && len(s) <= 128 && !strings.ContainsAny(s, " +\t\r\n\u0085\u00a0") && strings.TrimSpace(s) == s
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || (ip != nil && ip.IsLoopback())
}

func checkURL(what, text string) error {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || (u.Scheme != "https" && !(u.Scheme == "http" && isLoopback(u.Hostname()))) {
		return fmt.Errorf("%s: %q: want https, or http to a loopback address", what, text)
	}
	return nil
}

// checkpointInterval is CheckpointMS as a duration.
func (c Config) checkpointInterval() time.Duration {
	return time.Duration(c.CheckpointMS) * time.Millisecond
}

// The folders and files of a relay.
func (c Config) logDir() string       { return filepath.Join(c.Data, "log") }
func (c Config) vkeyFile() string     { return filepath.Join(c.Data, "log.vkey") }
func (c Config) logKeyFile() string   { return filepath.Join(c.Keys, "log.key") }
func (c Config) stmtKeyFile() string  { return filepath.Join(c.Keys, "statement.key") }
func (c Config) storeKeyFile() string { return filepath.Join(c.Keys, "store.key") }
