//go:build js && wasm

// Command sealpost-wasm is package evidence for a browser. It gives the page of
// web/verify one object, sealpost, and stays until the page is closed. Bytes come
// in as Uint8Array and answers go out as JSON in a string, so that nothing of the
// page's is held here.
package main

import (
	"encoding/json"
	"syscall/js"

	"github.com/sealpost/sealpost/evidence"
	"github.com/sealpost/sealpost/web/verify"
)

func main() {
	js.Global().Set("sealpost", map[string]any{
		"bundleMax": evidence.BundleMax,
		"policyMax": evidence.PolicyMax,
		// judge(bundle, policy, time in RFC 3339)
		"judge": js.FuncOf(func(_ js.Value, args []js.Value) any {
			return answer(verify.Judge(take(args[0], evidence.BundleMax+1), take(args[1], evidence.PolicyMax+1), args[2].String()))
		}),
		// raw(bundle)
		"raw": js.FuncOf(func(_ js.Value, args []js.Value) any {
			return answer(verify.Raw(take(args[0], evidence.BundleMax+1)))
		}),
	})
	select {}
}

// take copies at most most bytes out of the page's memory.
func take(from js.Value, most int) []byte {
	b := make([]byte, min(from.Length(), most))
	js.CopyBytesToGo(b, from)
	return b
}

func answer(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic("sealpost-wasm: our own answer: " + err.Error())
	}
	return string(b)
}
