package client

import (
	"encoding/base64"
	"fmt"
	"io"
	"log/slog"
	"strings"

	"github.com/sealpost/sealpost"
)

// invitePrefix begins the text of an invitation.
const invitePrefix = "sealpost-invite:"

// inviteMax bounds the text of an invitation, bytes.
const inviteMax = 4096

// An InviteToken is what a sender gives its customer over its own authenticated
// channel, such as the login of its app. It holds the enrolment secret, so it
// prints as nothing; Reveal is the text to hand over.
type InviteToken struct{ reveal func() string }

// Reveal is the text of the token.
func (t InviteToken) Reveal() string {
	if t.reveal == nil {
		return ""
	}
	return t.reveal()
}

// Format prints no secret.
func (InviteToken) Format(s fmt.State, _ rune) { _, _ = io.WriteString(s, "[invitation]") }

// LogValue prints no secret.
func (InviteToken) LogValue() slog.Value { return slog.StringValue("[invitation]") }

// MarshalJSON prints no secret.
func (InviteToken) MarshalJSON() ([]byte, error) { return []byte(`"[invitation]"`), nil }

// An inviteSecret is T, the 32 bytes that tie an answer to an invitation.
type inviteSecret [32]byte

// Format prints no secret.
func (inviteSecret) Format(s fmt.State, _ rune) { _, _ = io.WriteString(s, "[enrolment secret]") }

// LogValue prints no secret.
func (inviteSecret) LogValue() slog.Value { return slog.StringValue("[enrolment secret]") }

// MarshalJSON prints no secret.
func (inviteSecret) MarshalJSON() ([]byte, error) { return []byte(`"[enrolment secret]"`), nil }

// invite is the content of a token: what the device needs to answer, and what
// it pins for good.
type invite struct {
	_         struct{} `cbor:",toarray"`
	URL       string
	ID        sealpost.EnrolmentID
	Secret    inviteSecret
	Challenge [32]byte
	Expires   sealpost.UnixMilli
	App       string
	Recipient sealpost.Recipient
	Sender    sealpost.PublicKey
	Relay     sealpost.PublicKey // the relay's statement key
	Log       string             // verifier key of the log (C2SP signed-note)
	LeafAlg   sealpost.Alg       // of the leaf key that the recipient's group wants; 0 where the device may choose
}

func (in invite) token() (InviteToken, error) {
	b, err := sealpost.Encode(in)
	if err != nil {
		return InviteToken{}, fmt.Errorf("encode invitation: %w", err)
	}
	text := invitePrefix + base64.RawURLEncoding.EncodeToString(b)
	if len(text) > inviteMax {
		return InviteToken{}, fmt.Errorf("encode invitation: %d bytes, at most %d are allowed", len(text), inviteMax)
	}
	return InviteToken{func() string { return text }}, nil
}

// parseInvite reads the one text of an invitation.
func parseInvite(text string) (in invite, err error) {
	encoded, ours := strings.CutPrefix(text, invitePrefix)
	if !ours || len(text) > inviteMax {
		return in, fmt.Errorf("read invitation: %w: not %q and base64url", sealpost.ErrMalformed, invitePrefix)
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(encoded)
	if err != nil || strings.ContainsAny(encoded, "\r\n") { // which the decoder skips
		return in, fmt.Errorf("read invitation: %w: not unpadded base64url", sealpost.ErrMalformed)
	}
	if err := sealpost.Decode(b, &in); err != nil {
		return invite{}, fmt.Errorf("read invitation: %w", err)
	}
	leafKnown := in.LeafAlg == 0 || in.LeafAlg == sealpost.EdDSA || in.LeafAlg == sealpost.ES256
	if !sealpost.IsName(in.App) || in.Sender.IsZero() || in.Relay.IsZero() || !leafKnown {
		return invite{}, fmt.Errorf("read invitation: %w: app, key or algorithm", sealpost.ErrMalformed)
	}
	if _, err := newLogView(in.Log, nil); err != nil {
		return invite{}, fmt.Errorf("read invitation: %w", err)
	}
	return in, nil
}

// An InviteInfo is what an invitation says openly.
type InviteInfo struct {
	URL     string // of the relay
	App     string
	Sender  sealpost.KeyID
	Expires sealpost.UnixMilli
	LeafAlg sealpost.Alg // wanted of the device's leaf key; 0 where the device may choose
}

// ReadInvite reads the text of an invitation without answering it, so that the
// caller can connect to its relay.
func ReadInvite(text string) (InviteInfo, error) {
	in, err := parseInvite(text)
	if err != nil {
		return InviteInfo{}, err
	}
	return InviteInfo{in.URL, in.App, in.Sender.ID(), in.Expires, in.LeafAlg}, nil
}
