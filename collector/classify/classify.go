// Package classify says what an asset is - its class, exposure, environment,
// owner and the rest - and by whose word.
//
// Invariants:
//   - Values in, values out: the same inputs give the same classification.
//   - Every attribute carries its origin: an operator by hand, a rule, an import,
//     or a claim of the host.
//   - A host's claim never chooses a looser column of the timelines than the
//     record does, and never a class, a cold wallet or an end-user machine.
//   - What nobody says is unknown, which counts as the strictest.
package classify

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/patchproof/patchproof/collector/sla"
)

// Attributes classify an asset.
type Attributes struct {
	Account     string          `json:"account,omitempty"`
	OU          string          `json:"ou,omitempty"`
	Region      string          `json:"region,omitempty"`
	Service     string          `json:"service,omitempty"`
	Owner       string          `json:"owner,omitempty"`
	Class       sla.Class       `json:"class"`
	Exposure    sla.Exposure    `json:"exposure"`
	Environment sla.Environment `json:"environment"`
	Core        bool            `json:"core,omitempty"`
	CrownJewel  bool            `json:"crown_jewel,omitempty"`
	ColdWallet  bool            `json:"cold_wallet,omitempty"`
	HotWallet   bool            `json:"hot_wallet,omitempty"`
	// DataSensitivity is high, medium, low, or empty when nobody said.
	DataSensitivity string `json:"data_sensitivity,omitempty"`
}

// Attribute names one attribute, as JSON, rules and imports spell it.
type Attribute string

// Attributes of an asset.
const (
	Account         Attribute = "account"
	OU              Attribute = "ou"
	Region          Attribute = "region"
	Service         Attribute = "service"
	Owner           Attribute = "owner"
	Class           Attribute = "class"
	Exposure        Attribute = "exposure"
	Environment     Attribute = "environment"
	Core            Attribute = "core"
	CrownJewel      Attribute = "crown_jewel"
	ColdWallet      Attribute = "cold_wallet"
	HotWallet       Attribute = "hot_wallet"
	DataSensitivity Attribute = "data_sensitivity"
)

// All lists the attributes in the order people read them.
var All = []Attribute{
	Class, Exposure, Environment, Core, CrownJewel, ColdWallet, HotWallet, DataSensitivity, Owner, Service, Account, OU, Region,
}

// maxValue bounds a free-text value; a host name has at most 253 bytes.
const maxValue = 253

// Get returns an attribute as text; "" when nobody said. A flag that is not set
// is "", since an unset flag says nothing.
func (a *Attributes) Get(n Attribute) string {
	known := func(s string) string {
		if s == "unknown" {
			return ""
		}
		return s
	}
	if t := a.text(n); t != nil {
		return *t
	}
	if f := a.flag(n); f != nil {
		if *f {
			return yes
		}
		return ""
	}
	switch n {
	case Class:
		return string(a.Class)
	case Exposure:
		return known(string(a.Exposure))
	case Environment:
		return known(string(a.Environment))
	default:
		return ""
	}
}

// Set takes a word for an attribute in any spelling that inventories use; an empty
// one, "unknown" and "false" take it back: nothing is said then.
func (a *Attributes) Set(n Attribute, value string) error {
	if !slices.Contains(All, n) {
		names := make([]string, len(All))
		for i, known := range All {
			names[i] = string(known)
		}
		return fmt.Errorf("attribute %s is not known: want %s", quote(string(n)), strings.Join(names, ", "))
	}
	w, err := Normal(n, value)
	if err == nil {
		a.set(n, w)
	}
	return err
}

// CheckName keeps an asset's name fit for a terminal and a table. It may not look
// like an asset's id: the id would be found in its place.
func CheckName(s string) error {
	if s == "" {
		return errors.New("a name is missing")
	}
	if assetID.MatchString(s) {
		return fmt.Errorf("name %s looks like an asset's id", quote(s))
	}
	return checkText("name", s)
}

var assetID = regexp.MustCompile(`^a-[a-z2-7]{16}$`)

// set takes a value that normal has passed.
func (a *Attributes) set(n Attribute, value string) {
	if t := a.text(n); t != nil {
		*t = value
		return
	}
	if f := a.flag(n); f != nil {
		*f = value == yes
		return
	}
	switch n {
	case Class:
		a.Class = sla.Class(value)
	case Exposure:
		a.Exposure = sla.Exposure(value)
	case Environment:
		a.Environment = sla.Environment(value)
	default: // every other one is text or a flag
	}
}

const (
	yes = "true"
	no  = "false"
)

func (a *Attributes) text(n Attribute) *string {
	switch n {
	case Account:
		return &a.Account
	case OU:
		return &a.OU
	case Region:
		return &a.Region
	case Service:
		return &a.Service
	case Owner:
		return &a.Owner
	case DataSensitivity:
		return &a.DataSensitivity
	default:
		return nil
	}
}

func (a *Attributes) flag(n Attribute) *bool {
	switch n {
	case Core:
		return &a.Core
	case CrownJewel:
		return &a.CrownJewel
	case ColdWallet:
		return &a.ColdWallet
	case HotWallet:
		return &a.HotWallet
	default:
		return nil
	}
}

// words are the values of attributes that know only some, and the other
// spellings inventories use for them, folded.
var words = map[Attribute]map[string]string{
	Class: {
		"compute": "compute", "host": "compute", "server": "compute", "appliance": "appliance", "image": "image",
		"workload": "workload", "golden": "golden", "code": "code",
	},
	Exposure: {
		"internet": "internet", "internetfacing": "internet", "external": "internet", "public": "internet",
		"internal": "internal", "private": "internal", "unknown": "",
	},
	Environment: {
		"production": "production", "prod": "production", "prd": "production", "live": "production",
		"nonproduction": "nonproduction", "nonprod": "nonproduction", "development": "nonproduction", "dev": "nonproduction",
		"test": "nonproduction", "qa": "nonproduction", "uat": "nonproduction", "staging": "nonproduction",
		"enduser": "enduser", "unknown": "",
	},
	DataSensitivity: {"high": "high", "medium": "medium", "low": "low", "unknown": ""},
}

var flagWords = map[string]string{"true": yes, "yes": yes, "y": yes, "1": yes, "false": no, "no": no, "n": no, "0": no}

// plain lists the values to suggest when one is not known.
var plain = map[Attribute]string{
	Class:           "compute, appliance, image, workload, golden, code",
	Exposure:        "internet, internal, unknown",
	Environment:     "production, nonproduction, enduser, unknown",
	DataSensitivity: "high, medium, low, unknown",
}

// Normal is the one spelling of an attribute's value; "" is unknown.
func Normal(n Attribute, value string) (string, error) {
	if set, ok := words[n]; ok {
		if value == "" {
			return "", nil
		}
		w, ok := set[fold(value)]
		if !ok {
			return "", fmt.Errorf("%s %s: want %s", n, quote(value), plain[n])
		}
		return w, nil
	}
	if new(Attributes).flag(n) == nil {
		return value, checkText(string(n), value)
	}
	w, ok := flagWords[strings.ToLower(value)]
	if !ok && value != "" {
		return "", fmt.Errorf("%s %s: want true or false", n, quote(value))
	}
	return w, nil
}

// fold makes "Non-Production" and "non_production" one word.
func fold(s string) string {
	if len(s) > maxValue {
		return s
	}
	return strings.NewReplacer("-", "", "_", "", " ", "").Replace(strings.ToLower(s))
}

// Source is the kind of word an attribute rests on.
type Source string

// Sources, from the one that weighs most. A claim weighs only where it is stricter.
const (
	ByOperator Source = "operator"
	ByRule     Source = "rule"
	ByImport   Source = "import"
	ByClaim    Source = "claim"
	ByNobody   Source = "unknown"
)

// Origin says by whose word an attribute has its value.
type Origin struct {
	Source Source `json:"source"`
	// Name is the rule's id, the import's source, or what the host claims it with.
	Name string `json:"name,omitempty"`
	// Detail is what matched, and where it stands in an import.
	Detail string `json:"detail,omitempty"`
	// Digest is the SHA-256 (hex) of the rules or of the imported file.
	Digest string `json:"digest,omitempty"`
	// By and At say who brought it in, and when; empty for a claim.
	By string    `json:"by,omitempty"`
	At time.Time `json:"at,omitzero"`
	// Claimed marks a host's own word. Instead is what the record says, where a
	// claim is stricter.
	Claimed bool   `json:"claimed,omitempty"`
	Instead string `json:"instead,omitempty"`
}

// Provenance says for each attribute by whose word it stands. An attribute
// nobody speaks of is not in it.
type Provenance map[Attribute]Origin
