package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/sealpost/sealpost"
	"github.com/sealpost/sealpost/api"
	"github.com/sealpost/sealpost/client"
	"github.com/sealpost/sealpost/internal/dispatch/fcm"
	"github.com/sealpost/sealpost/internal/lab"
)

// Names within a device's folder.
const (
	deviceStore   = "device.db"
	deviceKeyName = "device"
)

// A deviceTool is a device as the commands use it: a software key in a file,
// and the lab's push transport in place of a phone's.
type deviceTool struct {
	*client.Device
	store client.Store
}

// openDevice opens a device's store, and makes one where there is none.
func openDevice(path, relayURL string) (*deviceTool, error) {
	store, err := client.OpenStore(path)
	if err != nil {
		return nil, err
	}
	t := &deviceTool{store: store}
	key, err := client.LoadKey(store, deviceKeyName, sealpost.EdDSA, rand.Reader)
	var relay *api.DeviceClient
	if err == nil {
		relay, err = api.NewDeviceClient(relayURL, key, time.Now, rand.Reader, nil)
	}
	if err == nil {
		t.Device, err = client.NewDevice(client.DeviceConfig{Store: store, API: relay, Log: relay, Now: time.Now, Rand: rand.Reader, Key: key})
	}
	if err != nil {
		return nil, errors.Join(err, store.Close())
	}
	return t, nil
}

func (t *deviceTool) close() error { return t.store.Close() }

// pushData is what a push of the FCM adapter carries: the sealed message or a
// ticket for it.
func pushData(p lab.Push) ([]byte, error) {
	for _, key := range []string{fcm.KeySealed, fcm.KeyTicket} {
		if text, ok := p.Data[key]; ok {
			return unbase64(text)
		}
	}
	return nil, errors.New("the push carries nothing of ours")
}

// endpointOf is how the relay reaches a phone of the lab.
func endpointOf(d lab.Device) api.DeviceEndpoint {
	return api.DeviceEndpoint{Carrier: sealpost.FCM, Kind: sealpost.EndpointFCMFID, Value: d.FID}
}

// newPhones talks to the lab's push transport. Its requests stay open.
func newPhones(url string) *lab.Phones {
	return lab.NewPhones(url, &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}})
}

// A DeviceFile is device.yaml: where a device's relay and push transport are.
type DeviceFile struct {
	Relay string `yaml:"relay"`
	Push  string `yaml:"push"`  // the lab's FCM server
	Token string `yaml:"token"` // of this device there
}

const deviceFile = "device.yaml"

// openDeviceFolder opens a device that was enrolled before.
func openDeviceFolder(dir string) (*deviceTool, DeviceFile, error) {
	if dir == "" {
		return nil, DeviceFile{}, usage("--device is missing; name the device's folder (sealpost device enroll makes one)")
	}
	file, err := readYAML[DeviceFile](filepath.Join(dir, deviceFile))
	if errors.Is(err, os.ErrNotExist) {
		err = fmt.Errorf("%s is no device's folder: %w; sealpost device enroll makes one", dir, err)
	}
	if err != nil {
		return nil, file, err
	}
	t, err := openDevice(filepath.Join(dir, deviceStore), file.Relay)
	return t, file, err
}

// enrollDevice answers an invitation with a new device in a folder of its own.
func enrollDevice(ctx context.Context, dir, invite, push string) (*deviceTool, error) {
	info, err := client.ReadInvite(invite)
	if err != nil {
		return nil, exit{exitUsage, err}
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	path := filepath.Join(dir, deviceFile)
	file, err := readYAML[DeviceFile](path)
	if errors.Is(err, os.ErrNotExist) {
		phone, err := newPhones(push).Register(ctx, lab.Registration{})
		if err != nil {
			return nil, fmt.Errorf("register for pushes: %w; is sealpost lab fcm running?", err)
		}
		file = DeviceFile{Relay: info.URL, Push: push, Token: phone.FID}
		if err := writeYAML(path, file); err != nil {
			return nil, err
		}
	} else if err != nil {
		return nil, err
	}
	t, err := openDevice(filepath.Join(dir, deviceStore), info.URL)
	if err != nil {
		return nil, err
	}
	if err := t.AcceptInvite(ctx, invite, []api.DeviceEndpoint{endpointOf(lab.Device{FID: file.Token})}); err != nil {
		return nil, errors.Join(err, t.close())
	}
	return t, nil
}
