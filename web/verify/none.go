//go:build !webpage

package verify

// Page says that this binary has none. The page is made, and is not in the
// repository, so go run and go build work on a checkout as it is.
func Page() ([]byte, error) { return nil, ErrNoPage }
