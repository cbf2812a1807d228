// Package verify is the verifier as one HTML file: package evidence, compiled for
// the browser, with a page around it that makes no request. It has three parts:
//
//   - [Judge] and [Raw] are what the page asks, compiled into it by
//     cmd/sealpost-wasm;
//   - [Assemble] makes the page out of that program (web/verify/build runs it);
//   - [Carry] puts a bundle and a policy into a page, for sealpost prove --html.
//
// # What the page will never do
//
// Open a connection, run a script or take a style that the build did not hash, or
// put what it reads into the document as anything but text. Its policy (CSP)
// holds that against mistakes of ours.
//
// # What it cannot do
//
// Vouch for itself. Whoever makes a file decides what it shows, so a page that
// came with a bundle is a convenience; a judgement is one by a page or command
// of the reader's own. The page says so.
package verify

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
)

//go:embed page.html
var pageHTML string

//go:embed page.css
var pageCSS string

//go:embed page.js
var pageJS string

// Elements of a page that hold data. Browsers run no script of such a type, and
// look for no markup in it.
const (
	carriedBundle = `<script type="application/vnd.sealpost.bundle" id="carried-bundle">`
	carriedPolicy = `<script type="application/json+base64" id="carried-policy">`
	endScript     = `</script>`
)

// Errors of a page.
var (
	ErrNoPage  = errors.New("this sealpost was built without the page; make build makes one that has it, or make web makes the page alone: name it with --page web/verify/verify.html")
	ErrNotPage = errors.New("not a page that make web made, or it carries a bundle already")
)

// Assemble makes the page out of the program (cmd/sealpost-wasm) and the script
// that comes with the Go release that compiled it (lib/wasm/wasm_exec.js).
func Assemble(program, wasmExec []byte) ([]byte, error) {
	var zipped bytes.Buffer
	z, err := gzip.NewWriterLevel(&zipped, gzip.BestCompression)
	if err != nil {
		return nil, fmt.Errorf("compress the program: %w", err)
	}
	if _, err := z.Write(program); err != nil {
		return nil, fmt.Errorf("compress the program: %w", err)
	}
	if err := z.Close(); err != nil {
		return nil, fmt.Errorf("compress the program: %w", err)
	}
	for name, text := range map[string]string{"wasm_exec.js": string(wasmExec), "page.js": pageJS, "page.css": pageCSS} {
		if strings.Contains(text, "</") {
			return nil, fmt.Errorf("%s holds %q, which could end its element", name, "</")
		}
	}
	csp := fmt.Sprintf("default-src 'none'; script-src %s %s 'wasm-unsafe-eval'; style-src %s; base-uri 'none'; form-action 'none'",
		source(string(wasmExec)), source(pageJS), source(pageCSS))
	return []byte(strings.NewReplacer(
		"{{csp}}", csp,
		"{{style}}", "<style>"+pageCSS+"</style>",
		"{{program}}", `<script type="application/wasm+gzip+base64" id="program">`+base64.StdEncoding.EncodeToString(zipped.Bytes())+endScript,
		"{{carried}}", carriedBundle+endScript+"\n"+carriedPolicy+endScript,
		"{{scripts}}", "<script>"+string(wasmExec)+"</script>\n<script>"+pageJS+"</script>",
	).Replace(pageHTML)), nil
}

// source is a text as CSP names it (CSP 3, 2.3.1).
func source(text string) string {
	sum := sha256.Sum256([]byte(text))
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}

// Carry puts a bundle into a page, and a policy that the reader may take or
// replace by one of its own.
func Carry(page, bundle, policy []byte) ([]byte, error) {
	for _, part := range []struct {
		start string
		data  []byte
	}{{carriedBundle, bundle}, {carriedPolicy, policy}} {
		empty := []byte(part.start + endScript)
		if bytes.Count(page, empty) != 1 {
			return nil, ErrNotPage
		}
		full := part.start + base64.StdEncoding.EncodeToString(part.data) + endScript
		page = bytes.Replace(page, empty, []byte(full), 1)
	}
	return page, nil
}
