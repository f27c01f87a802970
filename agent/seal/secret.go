package seal

import (
	"bytes"
	"regexp"
)

// secretForms are how keys and credentials of a host look in a file.
var secretForms = []struct {
	kind Kind
	form *regexp.Regexp
}{
	{Key, regexp.MustCompile(`-----BEGIN [A-Z ]*PRIVATE KEY-----`)},
	// A NATS seed: S, the kind of key, 56 of base32 (github.com/nats-io/nkeys).
	{Key, regexp.MustCompile(`\bS[UAOCNX][A-Z2-7]{56}\b`)},
	// A JWT as NATS users and others have it: three parts of base64url, the first
	// of them a JSON object.
	{Credential, regexp.MustCompile(`\beyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}`)},
}

// secret tells whether a text holds a private key or a credential.
func secret(text []byte) (Kind, bool) {
	if bytes.IndexByte(text, 0) >= 0 {
		return "", false // no file of ours
	}
	for _, s := range secretForms {
		if s.form.Match(text) {
			return s.kind, true
		}
	}
	return "", false
}
