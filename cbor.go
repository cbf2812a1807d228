package sealpost

import (
	"bytes"
	"fmt"

	"github.com/fxamacker/cbor/v2"
)

// detEnc writes RFC 8949 4.2.1 core deterministic encoding: shortest lengths,
// map keys in bytewise order, definite lengths only.
var detEnc = must(cbor.EncOptions{
	Sort:          cbor.SortCoreDeterministic,
	ShortestFloat: cbor.ShortestFloat16,
	NaNConvert:    cbor.NaNConvert7e00,
	InfConvert:    cbor.InfConvertFloat16,
	IndefLength:   cbor.IndefLengthForbidden,
	TagsMd:        cbor.TagsForbidden,
	NilContainers: cbor.NilContainerAsEmpty,
}.EncMode())

// detDec refuses what a statement never holds. Bounds on nesting and counts
// hold before anything is allocated.
var detDec = must(cbor.DecOptions{
	DupMapKey:         cbor.DupMapKeyEnforcedAPF,
	IndefLength:       cbor.IndefLengthForbidden,
	TagsMd:            cbor.TagsForbidden,
	ExtraReturnErrors: cbor.ExtraDecErrorUnknownField,
	MaxNestedLevels:   8,
	MaxArrayElements:  itemsMax,
	MaxMapPairs:       64,
	UTF8:              cbor.UTF8RejectInvalid,
	FieldNameMatching: cbor.FieldNameMatchingCaseSensitive,
}.DecMode())

func must[T any](v T, err error) T {
	if err != nil {
		panic(fmt.Sprintf("sealpost: our own CBOR options: %v", err))
	}
	return v
}

// Encode writes v as deterministic CBOR, by its struct tags. Only values whose types cannot hold
// a float or an interface may be passed.
func Encode(v any) ([]byte, error) { return detEnc.Marshal(v) }

// Decode reads into v bytes that Encode would write for it, and no others:
// it encodes again and compares.
func Decode(b []byte, v any) error {
	if err := detDec.Unmarshal(b, v); err != nil {
		return malformed("CBOR: %v", err)
	}
	again, err := detEnc.Marshal(v)
	if err != nil {
		return malformed("CBOR: %v", err)
	}
	if !bytes.Equal(again, b) {
		return malformed("CBOR: not the one deterministic encoding")
	}
	return nil
}

// mustEncode is for values of our own whose encoding cannot fail.
func mustEncode(v any) []byte { return must(detEnc.Marshal(v)) }
