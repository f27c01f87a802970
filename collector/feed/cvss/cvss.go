// Package cvss turns CVSS vectors into scores, whatever their version.
package cvss

import (
	"errors"
	"fmt"
	"strings"

	gocvss20 "github.com/pandatix/go-cvss/20"
	gocvss30 "github.com/pandatix/go-cvss/30"
	gocvss31 "github.com/pandatix/go-cvss/31"
	gocvss40 "github.com/pandatix/go-cvss/40"

	"github.com/patchproof/patchproof/collector/advisory"
)

// ErrVector says that the vector is not one of CVSS 2.0, 3.0, 3.1 or 4.0.
var ErrVector = errors.New("not a CVSS vector")

// maxVector is longer than the longest vector of any version with all metrics.
const maxVector = 512

// Score computes the base score of a vector (for 4.0 the score of the metrics
// it carries), under the name of a source: vendor, cna, adp or nvd.
func Score(source, vector string) (advisory.Score, error) {
	s := advisory.Score{Source: source, Vector: vector}
	if len(vector) > maxVector {
		return s, fmt.Errorf("%w: %d bytes long", ErrVector, len(vector))
	}
	var err error
	switch {
	case strings.HasPrefix(vector, "CVSS:4.0/"):
		s.Version = "4.0"
		var v *gocvss40.CVSS40
		if v, err = gocvss40.ParseVector(vector); err == nil {
			s.Value = v.Score()
		}
	case strings.HasPrefix(vector, "CVSS:3.1/"):
		s.Version = "3.1"
		var v *gocvss31.CVSS31
		if v, err = gocvss31.ParseVector(vector); err == nil {
			s.Value = v.BaseScore()
		}
	case strings.HasPrefix(vector, "CVSS:3.0/"):
		s.Version = "3.0"
		var v *gocvss30.CVSS30
		if v, err = gocvss30.ParseVector(vector); err == nil {
			s.Value = v.BaseScore()
		}
	default:
		s.Version = "2.0"
		var v *gocvss20.CVSS20
		if v, err = gocvss20.ParseVector(strings.TrimSuffix(strings.TrimPrefix(vector, "("), ")")); err == nil {
			s.Value = v.BaseScore()
		}
	}
	if err != nil {
		return s, fmt.Errorf("%w: %q: %w", ErrVector, vector, err)
	}
	return s, nil
}
