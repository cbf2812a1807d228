package interop_test

import "testing"

func needPeers(t *testing.T) {}
