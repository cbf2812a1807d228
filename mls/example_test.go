package mls_test

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/sealpost/sealpost/mls"
)

// knownKeys accepts the signature keys that were enrolled.
type knownKeys [][]byte

func (k knownKeys) Validate(_ mls.Credential, signatureKey []byte) error {
	for _, key := range k {
		if bytes.Equal(key, signatureKey) {
			return nil
		}
	}
	return errors.New("the signature key is not enrolled")
}

// Successor lets nobody change its name.
func (k knownKeys) Successor(before, after mls.Credential) error {
	if before.Type != after.Type || !bytes.Equal(before.Identity, after.Identity) {
		return errors.New("the member has another name now")
	}
	return nil
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}

// A sender makes a group for one recipient's device and sends it a code.
func Example() {
	bankKey, err := mls.NewEd25519Signer(bytes.Repeat([]byte{1}, 32)) // random in earnest
	check(err)
	phoneKey, err := mls.NewEd25519Signer(bytes.Repeat([]byte{2}, 32))
	check(err)
	enrolled := knownKeys{bankKey.Public(), phoneKey.Public()}

	// The device publishes a KeyPackage and keeps its secrets.
	pub, secrets, err := mls.NewKeyPackage(mls.X25519AES128, mls.BasicCredential([]byte("phone")), phoneKey,
		mls.KeyPackageOptions{NotBefore: 1_700_000_000, NotAfter: 1_800_000_000})
	check(err)

	// The sender makes a group, adds the device and seals one message.
	bank, err := mls.Create(mls.X25519AES128, []byte("group 1"), mls.BasicCredential([]byte("bank")),
		bankKey, enrolled, mls.DefaultPolicy())
	check(err)
	staged, err := bank.Add(pub)
	check(err)
	check(bank.Apply(staged))
	sealed, err := bank.Protect([]byte("message id"), []byte("Your code is 123456"))
	check(err)
	state, err := bank.Marshal() // stored durably before sealed is sent
	check(err)

	// The device joins and opens it.
	phone, err := mls.Join(staged.Welcome, secrets, phoneKey, enrolled, mls.DefaultPolicy())
	check(err)
	event, err := phone.Process(sealed)
	check(err)
	fmt.Printf("%s\n", event.(mls.Application).Plaintext)

	// After a restart the sender goes on where it was.
	bank, err = mls.Unmarshal(state, bankKey, enrolled, mls.DefaultPolicy())
	check(err)

	// Nobody opens the message twice.
	_, err = phone.Process(sealed)
	fmt.Println(err)
	fmt.Println("next generation:", bank.Generation())
	// Output:
	// Your code is 123456
	// generation 0 of leaf 0: generation already used or evicted
	// next generation: 1
}

// A device signs that it has shown a message, with the key of its leaf. Members
// verify it by the leaf; whoever keeps the device's key verifies it without the
// group.
func ExampleGroup_SignDetached() {
	bankKey, err := mls.NewEd25519Signer(bytes.Repeat([]byte{1}, 32))
	check(err)
	enrolled := knownKeys{bankKey.Public()}
	bank, err := mls.Create(mls.X25519AES128, []byte("group 1"), mls.BasicCredential([]byte("bank")), bankKey, enrolled, mls.DefaultPolicy())
	check(err)

	// The content names all that is meant: neither group nor epoch is signed.
	receipt := []byte("group 1, message 7: shown")
	sig, err := bank.SignDetached("receipt", receipt)
	check(err)
	fmt.Println(bank.VerifyDetached(bank.OwnLeaf(), "receipt", receipt, sig))
	fmt.Println(mls.VerifyDetached(mls.X25519AES128, bankKey.Public(), "receipt", receipt, sig))
	fmt.Println(mls.VerifyDetached(mls.X25519AES128, bankKey.Public(), "order", receipt, sig) != nil)
	// Output:
	// <nil>
	// <nil>
	// true
}

// A device acknowledges a message in the form of RCC.16: what it says stands in
// the authenticated data of a proposal that proposes nothing. Members verify it,
// and so does an auditor who was given the group's context and the device's key.
func ExampleGroup_SignedProposal() {
	const receipt = 0xf002 // a proposal type for private use, agreed on by both
	bankKey, err := mls.NewEd25519Signer(bytes.Repeat([]byte{1}, 32))
	check(err)
	phoneKey, err := mls.NewEd25519Signer(bytes.Repeat([]byte{2}, 32))
	check(err)
	enrolled := knownKeys{bankKey.Public(), phoneKey.Public()}
	policy := mls.DefaultPolicy()
	policy.Support.Proposals = []uint16{receipt}

	pub, secrets, err := mls.NewKeyPackage(mls.X25519AES128, mls.BasicCredential([]byte("phone")), phoneKey,
		mls.KeyPackageOptions{NotAfter: 1_800_000_000, Support: policy.Support})
	check(err)
	bank, err := mls.Create(mls.X25519AES128, []byte("group 1"), mls.BasicCredential([]byte("bank")), bankKey, enrolled, policy)
	check(err)
	staged, err := bank.Add(pub)
	check(err)
	check(bank.Apply(staged))
	phone, err := mls.Join(staged.Welcome, secrets, phoneKey, enrolled, policy)
	check(err)

	msg, err := phone.SignedProposal(receipt, []byte("message 7: delivered"))
	check(err)
	said, err := bank.OpenSignedProposal(msg, receipt)
	check(err)
	fmt.Printf("leaf %d: %s\n", said.Sender, said.AAD)

	context, err := bank.Context() // logged, for whoever audits
	check(err)
	audited, err := mls.VerifySignedProposal(msg, receipt, context, phoneKey.Public())
	check(err)
	fmt.Printf("epoch %d: %s\n", audited.Epoch, audited.AAD)
	// Output:
	// leaf 1: message 7: delivered
	// epoch 1: message 7: delivered
}
