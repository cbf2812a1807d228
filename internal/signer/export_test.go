package signer

// StopAt has f called before and after each step of a write; an error from it
// ends the write there, as a crash would.
func (h *HeadFile) StopAt(f func(step string) error) { h.step = f }
