package trust

import (
	"encoding/pem"
	"fmt"
	"strings"

	"github.com/patchproof/patchproof/schema/bundle"
)

// recipientBlock is the PEM type of a recipient key: the bytes are those of RFC
// 9180's SerializePrivateKey for the KEM of schema/bundle.
const recipientBlock = "PATCHPROOF RECIPIENT KEY"

func (k *Keys) openRecipient(path string) error {
	text, err := readOrMake(path, newRecipientKey)
	if err != nil {
		return err
	}
	block, rest := pem.Decode(text)
	if block == nil || block.Type != recipientBlock || len(strings.TrimSpace(string(rest))) > 0 {
		return fmt.Errorf("%s does not hold one PEM block %s", path, recipientBlock)
	}
	if k.Recipient, err = bundle.ParseRecipientKey(block.Bytes); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

func newRecipientKey() ([]byte, error) {
	key, err := bundle.NewRecipientKey()
	if err != nil {
		return nil, err
	}
	raw, err := key.Bytes()
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: recipientBlock, Bytes: raw}), nil
}
