package relaytest

import "testing"

// DESIGN section 5, wall 5.
func TestLogInMemory(t *testing.T) {
	LogContract(t, func(t *testing.T) LogRig {
		l := NewLog(t)
		return LogRig{Log: l, Head: l.Head}
	})
}
