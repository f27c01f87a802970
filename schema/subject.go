package schema

import (
	"fmt"
	"strings"
)

// StreamReports is the JetStream stream that holds reports until the
// collector's door has taken them.
const StreamReports = "REPORTS"

// SubjectReportsAll matches the report subject of every host.
const SubjectReportsAll = reportsPrefix + "*"

const (
	reportsPrefix  = "patchproof.v1.reports."
	receiptsPrefix = "patchproof.v1.receipts."
)

// ReportSubject is where the host with this transport key publishes. The key
// must have passed CheckTransportKey.
func ReportSubject(transportKey string) string { return reportsPrefix + transportKey }

// ReceiptSubject is where the collector answers that host. The key must have
// passed CheckTransportKey.
func ReceiptSubject(transportKey string) string { return receiptsPrefix + transportKey }

// TransportKeyOf returns the transport key a report subject is for.
func TransportKeyOf(reportSubject string) (string, error) {
	key, ok := strings.CutPrefix(reportSubject, reportsPrefix)
	if !ok {
		return "", fmt.Errorf("parse report subject %.80q: want %s<transport key>", reportSubject, reportsPrefix)
	}
	if err := CheckTransportKey(key); err != nil {
		return "", fmt.Errorf("parse report subject %.80q: %w", reportSubject, err)
	}
	return key, nil
}

// transportKeyLen is U, then 35 bytes (prefix, key, checksum) in base32.
const transportKeyLen = 56

// CheckTransportKey returns an error unless s has the form of a NATS user key:
// U and 55 characters of base32. It keeps wildcards and dots out of subjects;
// whether the key is the host's is the door's question.
func CheckTransportKey(s string) error {
	if len(s) != transportKeyLen || s[0] != 'U' {
		return fmt.Errorf("transport key %.80q: want U and %d characters of base32", s, transportKeyLen-1)
	}
	for i := range len(s) {
		if c := s[i]; (c < 'A' || c > 'Z') && (c < '2' || c > '7') {
			return fmt.Errorf("transport key %.80q: character %d is not base32", s, i+1)
		}
	}
	return nil
}
