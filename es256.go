package sealpost

import (
	"crypto/elliptic"
	"encoding/asn1"
	"math/big"
)

// NormalizeES256 turns an ECDSA P-256 signature in ASN.1 DER, as a secure
// element or key service gives it, into r and s of 32 bytes with s in the
// lower half (DESIGN section 12, Signatures).
func NormalizeES256(der []byte) ([]byte, error) {
	var v struct{ R, S *big.Int }
	rest, err := asn1.Unmarshal(der, &v)
	n := elliptic.P256().Params().N
	switch {
	case err != nil || len(rest) != 0:
		return nil, malformed("ECDSA signature is not DER")
	case v.R.Sign() <= 0 || v.S.Sign() <= 0 || v.R.Cmp(n) >= 0 || v.S.Cmp(n) >= 0:
		return nil, malformed("ECDSA signature is outside the order of P-256")
	}
	if v.S.Cmp(halfOrder) > 0 {
		v.S.Sub(n, v.S)
	}
	out := make([]byte, SignatureSize)
	v.R.FillBytes(out[:32])
	v.S.FillBytes(out[32:])
	return out, nil
}
