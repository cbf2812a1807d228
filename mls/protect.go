package mls

import (
	"fmt"
	"io"
)

const reuseGuardSize = 4

// senderData is SenderData, 6.3.2.
type senderData struct {
	leaf, generation uint32
	guard            [reuseGuardSize]byte
}

func (x *senderData) read(r *reader) {
	x.leaf = r.u32()
	x.generation = r.u32()
	copy(x.guard[:], r.take(reuseGuardSize))
}

func (x *senderData) write(w *writer) {
	w.u32(x.leaf)
	w.u32(x.generation)
	w.raw(x.guard[:])
}

// senderDataKey derives key and nonce from a sample of the ciphertext, 6.3.2.
func (c *cryptoSuite) senderDataKey(secret, ciphertext []byte) messageKey {
	sample := ciphertext[:min(len(ciphertext), c.nh())]
	x := c.under(secret)
	return messageKey{key: x.expand("key", sample, c.nk), nonce: x.expand("nonce", sample, nonceSize)}
}

// guarded is the nonce with the reuse guard mixed in, 6.3.1.
func guarded(nonce []byte, guard [reuseGuardSize]byte) []byte {
	out := make([]byte, len(nonce))
	copy(out, nonce)
	for i, g := range guard {
		out[i] ^= g
	}
	return out
}

// contentAAD is PrivateContentAAD and senderAAD is SenderDataAAD, 6.3.
func (x *privateMessage) senderAAD() []byte {
	return encode(func(w *writer) {
		w.vec(x.groupID)
		w.u64(x.epoch)
		w.u8(x.kind)
	})
}

func (x *privateMessage) contentAAD() []byte {
	return encode(func(w *writer) {
		w.raw(x.senderAAD())
		w.vec(x.aad)
	})
}

// sealing is all that protecting one message needs, besides the content.
type sealing struct {
	cs               *cryptoSuite
	senderDataSecret []byte
	ratchet          ratchet
	padding          func(int) int
	random           io.Reader
}

// private encrypts signed content under the ratchet's next generation, 6.3. The
// ratchet it returns no longer has that generation.
func (s *sealing) private(a *authContent) (*privateMessage, ratchet, error) {
	if s.ratchet.next == generationMax {
		return nil, s.ratchet, refused("generations of the epoch are used up")
	}
	c := &a.content
	pm := &privateMessage{groupID: c.groupID, epoch: c.epoch, kind: c.kind, aad: c.aad}
	sd := senderData{leaf: c.sender.index, generation: s.ratchet.next}
	if _, err := io.ReadFull(s.random, sd.guard[:]); err != nil {
		return nil, s.ratchet, fmt.Errorf("read reuse guard: %w", err)
	}
	plain := encodeAbout(len(c.application)+256, func(w *writer) { // 256 for the signature
		c.writeBody(w)
		a.auth.write(w, c.kind)
	})
	if s.padding != nil {
		if n := s.padding(len(plain)); n > 0 {
			plain = append(plain, make([]byte, n)...)
		}
	}
	key, after := s.cs.ratchetStep(s.ratchet)
	aead, err := s.cs.content(key.key)
	if err != nil {
		return nil, s.ratchet, err
	}
	pm.ciphertext = aead.Seal(nil, guarded(key.nonce, sd.guard), plain, pm.contentAAD())
	clear(key.key)
	outer := s.cs.senderDataKey(s.senderDataSecret, pm.ciphertext)
	if aead, err = s.cs.content(outer.key); err != nil {
		return nil, s.ratchet, err
	}
	pm.senderData = aead.Seal(nil, outer.nonce, encode(sd.write), pm.senderAAD())
	return pm, after, nil
}

// openSenderData finds out who sent a message and at which generation, 6.3.2.
func (c *cryptoSuite) openSenderData(secret []byte, pm *privateMessage) (senderData, error) {
	var sd senderData
	key := c.senderDataKey(secret, pm.ciphertext)
	aead, err := c.content(key.key)
	if err != nil {
		return sd, err
	}
	plain, err := aead.Open(nil, key.nonce, pm.senderData, pm.senderAAD())
	if err != nil {
		return sd, refused("sender data does not decrypt")
	}
	return sd, decode(plain, 0, sd.read)
}

// openContent decrypts a message under its key, 6.3.1. Its signature is still to
// be checked.
func (c *cryptoSuite) openContent(pm *privateMessage, sd senderData, key messageKey, items int) (*authContent, error) {
	aead, err := c.content(key.key)
	if err != nil {
		return nil, err
	}
	plain, err := aead.Open(nil, guarded(key.nonce, sd.guard), pm.ciphertext, pm.contentAAD())
	if err != nil {
		return nil, refused("content does not decrypt")
	}
	a := &authContent{wire: wirePrivateMessage, content: framedContent{
		groupID: pm.groupID, epoch: pm.epoch, aad: pm.aad, kind: pm.kind,
		sender: sender{senderMember, sd.leaf},
	}}
	r := newReader(plain, items)
	a.content.readBody(r)
	a.auth.read(r, pm.kind)
	for _, b := range r.b {
		if b != 0 {
			return nil, malformed("padding is not zero")
		}
	}
	return a, r.err
}

// publicFrom protects signed content of a member as a PublicMessage, 6.2.
func (c *cryptoSuite) publicFrom(a *authContent, membershipKey, context []byte) (*publicMessage, error) {
	if a.content.kind == contentApplication {
		return nil, refused("application data is never sent in the clear")
	}
	pm := &publicMessage{content: a.content, auth: a.auth}
	if a.content.sender.kind == senderMember {
		pm.membershipTag = c.mac(membershipKey, a.tbm(context))
	}
	return pm, nil
}

// openPublic checks the membership tag, 6.2. The signature is still to be
// checked.
func (c *cryptoSuite) openPublic(pm *publicMessage, membershipKey, context []byte) (*authContent, error) {
	if pm.content.kind == contentApplication {
		return nil, refused("application data in the clear")
	}
	a := &authContent{wire: wirePublicMessage, content: pm.content, auth: pm.auth}
	if pm.content.sender.kind == senderMember && !c.checkMAC(membershipKey, a.tbm(context), pm.membershipTag) {
		return nil, refused("membership tag")
	}
	return a, nil
}
