package client

import (
	"fmt"
	"io"
	"log/slog"
)

// A secret is bytes of a record that must not be printed. Records keep it in
// exported fields, so that fmt finds its methods; the store writes it as bytes.
type secret []byte

// Format prints no secret.
func (secret) Format(s fmt.State, _ rune) { _, _ = io.WriteString(s, "[secret]") }

// LogValue prints no secret.
func (secret) LogValue() slog.Value { return slog.StringValue("[secret]") }

// MarshalJSON prints no secret.
func (secret) MarshalJSON() ([]byte, error) { return []byte(`"[secret]"`), nil }
