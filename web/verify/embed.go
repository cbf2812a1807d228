//go:build webpage

package verify

import _ "embed"

//go:embed verify.html
var page []byte

// Page is the page that this binary was built with (make build).
func Page() ([]byte, error) { return page, nil }
