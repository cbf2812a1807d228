package mls

import (
	"errors"
	"slices"
	"testing"
)

// TestExperimentalSuitesAreOff: without the option no door opens for a suite
// that has no code point of its own, and nobody advertises it.
func TestExperimentalSuitesAreOff(t *testing.T) {
	for _, s := range []Suite{X25519MLKEM768, P256MLKEM768} {
		x := invite(t, s)
		if err := x.group.Apply(x.staged); err != nil {
			t.Fatal(err)
		}
		device := x.phone.join(t, x.staged.Welcome, x.secrets)
		if _, err := x.phone.policy.ParseKeyPackage(x.pub); err != nil {
			t.Fatalf("suite %#x with the option: %v", s, err)
		}
		state, err := device.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		mustOpen(t, x.phone.restore(t, device), mustProtect(t, x.group, "hello"), "hello")
		stranger, _ := newPerson(t, s, "tablet").keyPackage(t, s)
		off := DefaultPolicy()
		for name, do := range map[string]func() error{
			"NewKeyPackage": func() error {
				_, _, err := NewKeyPackage(s, x.phone.credential(), x.phone.signer, KeyPackageOptions{NotAfter: 1})
				return err
			},
			"ParseKeyPackage": func() error { _, err := ParseKeyPackage(x.pub); return err },
			"Create": func() error {
				_, err := Create(s, []byte("g"), x.bank.credential(), x.bank.signer, anyCredential{}, off)
				return err
			},
			"Add": func() error {
				x.group.s.policy.Experimental = false
				_, err := x.group.Add(stranger)
				return err
			},
			"Join": func() error {
				_, err := Join(x.staged.Welcome, x.secrets, x.phone.signer, anyCredential{}, off)
				return err
			},
			"ExternalJoin": func() error {
				tablet := newPerson(t, s, "tablet")
				gi := externalInfo(t, device, GroupInfoOptions{})
				_, _, err := ExternalJoin(gi, nil, tablet.credential(), tablet.signer, anyCredential{}, off, ExternalOptions{})
				return err
			},
			"Unmarshal": func() error { _, err := Unmarshal(state, x.phone.signer, anyCredential{}, off); return err },
		} {
			if err := do(); !errors.Is(err, ErrUnsupported) {
				t.Errorf("suite %#x, %s without the option: %v", s, name, err)
			}
		}
		if !slices.Contains(device.cur().tree.leaf(1).capabilities.suites, uint16(s)) {
			t.Errorf("a leaf of suite %#x does not advertise it", s)
		}
	}
	plain := newPerson(t, X25519AES128, "plain").create(t, X25519AES128)
	for _, s := range plain.cur().tree.leaf(0).capabilities.suites {
		if Suite(s).experimental() {
			t.Errorf("suite %#x is advertised without the option", s)
		}
	}
}
