package main

import (
	"bufio"
	"bytes"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"
)

// sample is what the demo sends without --input: 30 lines over all templates.
//
//go:embed sample.jsonl
var sample []byte

// Bounds of an input file.
const (
	inputLineMax  = 16 << 10 // bytes
	inputLinesMax = 100_000
)

// A demoLine is one notification to send.
type demoLine struct {
	To       string            `json:"to"`
	Template string            `json:"template"`
	Data     map[string]string `json:"data"`
}

// e164 is a phone number as ITU-T E.164 writes it, with its plus sign.
var e164 = regexp.MustCompile(`^\+[1-9][0-9]{6,14}$`)

var demoTemplates = []string{"otp", "payment", "account"}

// readDemoInput reads the whole input before anything is sent, and names every
// faulty line.
func readDemoInput(path string, count int) ([]demoLine, error) {
	b := sample
	if path != "" {
		var err error
		if b, err = os.ReadFile(path); err != nil {
			return nil, fmt.Errorf("read input: %w", err)
		}
	}
	lines, err := parseDemoInput(b)
	if err != nil {
		return nil, usage("input %s:\n%v", path, err)
	}
	if count == 0 {
		return lines, nil
	}
	out := make([]demoLine, count)
	for i := range out {
		out[i] = lines[i%len(lines)]
	}
	return out, nil
}

func parseDemoInput(b []byte) (lines []demoLine, err error) {
	var faults []error
	in := bufio.NewScanner(bytes.NewReader(b))
	in.Buffer(nil, inputLineMax)
	for n := 1; in.Scan(); n++ {
		text := bytes.TrimSpace(in.Bytes())
		if len(text) == 0 {
			continue
		}
		line, err := parseDemoLine(text)
		if err != nil {
			faults = append(faults, fmt.Errorf("line %d: %w", n, err))
			continue
		}
		lines = append(lines, line)
	}
	if err := in.Err(); err != nil {
		faults = append(faults, fmt.Errorf("a line is longer than %d bytes", inputLineMax))
	}
	if len(faults) == 0 && (len(lines) == 0 || len(lines) > inputLinesMax) {
		faults = append(faults, fmt.Errorf("want 1 to %d lines, got %d", inputLinesMax, len(lines)))
	}
	return lines, errors.Join(faults...)
}

func parseDemoLine(b []byte) (demoLine, error) {
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	d.UseNumber()
	var in struct {
		To       string         `json:"to"`
		Template string         `json:"template"`
		Data     map[string]any `json:"data"`
	}
	if err := d.Decode(&in); err != nil {
		return demoLine{}, fmt.Errorf(`want {"to":"+491511234567","template":"otp","data":{…}}: %w`, err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return demoLine{}, errors.New("something stands after the object")
	}
	line := demoLine{To: in.To, Template: in.Template, Data: map[string]string{}}
	if !e164.MatchString(in.To) {
		return line, errors.New("to: want a phone number such as +491511234567")
	}
	if !slices.Contains(demoTemplates, in.Template) {
		return line, fmt.Errorf("template: want one of %s", strings.Join(demoTemplates, ", "))
	}
	for name, v := range in.Data {
		switch v := v.(type) {
		case string:
			line.Data[name] = v
		case json.Number:
			line.Data[name] = v.String()
		default:
			return line, fmt.Errorf("data.%s: want a text or a number", name)
		}
	}
	return line, nil
}
