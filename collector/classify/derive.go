package classify

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/patchproof/patchproof/collector/sla"
)

// Claims are what a host says of itself.
type Claims struct {
	InstanceID   string            `json:"instance_id,omitempty"`
	Account      string            `json:"account,omitempty"`
	Region       string            `json:"region,omitempty"`
	InstanceType string            `json:"instance_type,omitempty"`
	Tags         map[string]string `json:"tags,omitempty"`
	Labels       map[string]string `json:"labels,omitempty"`
}

// Declared is what an operator said by hand.
type Declared struct {
	Attributes Attributes `json:"attributes"`
	By         string     `json:"by,omitempty"`
	At         time.Time  `json:"at,omitzero"`
}

// Input is all that is known of one asset.
type Input struct {
	Asset    string
	Name     string
	Declared Declared
	Claims   Claims
}

// RuleSet is the rules in force with who applied them, and when.
type RuleSet struct {
	Rules *Rules // nil: none
	By    string
	At    time.Time
}

// Word is what one source says of an attribute.
type Word struct {
	Value  string `json:"value"`
	Origin Origin `json:"origin"`
	Wins   bool   `json:"wins"`
	// Why says why it does not win.
	Why string `json:"why,omitempty"`
}

// Result is a classification with its reasons.
type Result struct {
	Attributes Attributes
	Provenance Provenance
	// Words holds everything said of each attribute, heaviest first.
	Words map[Attribute][]Word
	// Gone, when set, is the list that says the asset is terminated.
	Gone *Gone
	// Notes are what could not be told, for people.
	Notes []string
}

// Derive classifies one asset.
//
// For each attribute an operator's word holds over rules, rules over imports. Of
// rules the first that matches and sets it holds, of imports the newest. A claim -
// a host's label or instance tag of the attribute's own name, or a rule that fits
// only by what the host says - is taken where it is stricter, or where it fills
// what does not touch a deadline and nobody else says.
func Derive(rs RuleSet, roster *Roster, in Input) Result {
	d := derivation{rs: rs, roster: roster, in: in, entries: roster.Of(in.Asset)}
	d.words = map[Attribute][]Word{}
	d.declared()
	d.locate()
	d.gather()
	d.rules()
	d.imports()
	d.claims()
	out := Result{Provenance: Provenance{}, Words: d.words, Notes: roster.Notes(in.Asset), Gone: goneBy(d.entries)}
	for _, n := range All {
		settle(&out, n, d.words[n])
	}
	out.Attributes.Class = cmp.Or(out.Attributes.Class, sla.Compute)
	out.Attributes.Exposure = cmp.Or(out.Attributes.Exposure, sla.UnknownExposure)
	out.Attributes.Environment = cmp.Or(out.Attributes.Environment, sla.UnknownEnvironment)
	return out
}

type derivation struct {
	rs      RuleSet
	roster  *Roster
	in      Input
	entries []Listed
	facts   facts
	words   map[Attribute][]Word
}

func (d *derivation) say(n Attribute, value string, o Origin) {
	if value != "" {
		d.words[n] = append(d.words[n], Word{Value: value, Origin: o})
	}
}

func (d *derivation) declared() {
	for _, n := range All {
		d.say(n, d.in.Declared.Attributes.Get(n), Origin{Source: ByOperator, By: d.in.Declared.By, At: d.in.Declared.At})
	}
}

// locate says where the asset is: facts, which rules then look at.
func (d *derivation) locate() {
	for i := range d.entries {
		l := &d.entries[i]
		d.say(Account, l.Account, l.origin())
		d.say(Region, l.Region, l.origin())
		d.say(OU, l.OU, l.origin())
	}
	claim := func(n Attribute, value string) {
		if checkText(string(n), value) == nil {
			d.say(n, value, Origin{Source: ByClaim, Name: "instance metadata", Claimed: true})
		}
	}
	claim(Account, d.in.Claims.Account)
	claim(Region, d.in.Claims.Region)
	for _, w := range slices.Clone(d.words[Account]) {
		unit, l := d.roster.unit(w.Value)
		if l == nil {
			continue
		}
		o := l.origin()
		o.Detail = "account " + w.Value + ", " + l.Place
		if w.Origin.Claimed {
			o.Source, o.Claimed = ByClaim, true
		}
		d.say(OU, unit, o)
		break // the heaviest word on the account is the account
	}
}

// gather collects what conditions look at.
func (d *derivation) gather() {
	d.facts = facts{fields: map[Field][]fact{}, tags: map[string][]fact{}, labels: map[string][]fact{}}
	add := func(f Field, value string, claimed bool) {
		if value != "" {
			d.facts.fields[f] = append(d.facts.fields[f], fact{value, claimed})
		}
	}
	add(FieldName, d.in.Name, false)
	for i := range d.entries {
		l := &d.entries[i]
		add(FieldName, l.Name, false)
		add(FieldInstanceType, l.InstanceType, false)
		for k, v := range l.Tags {
			// The newest import's word on a tag is the record's; older ones are passed over.
			if len(d.facts.tags[k]) == 0 {
				d.facts.tags[k] = []fact{{v, false}}
			}
		}
	}
	add(FieldInstanceType, d.in.Claims.InstanceType, true)
	for f, n := range map[Field]Attribute{FieldAccount: Account, FieldOU: OU, FieldRegion: Region} {
		d.locations(f, n)
	}
	for k, v := range d.in.Claims.Tags {
		d.facts.tags[k] = append(d.facts.tags[k], fact{v, true})
	}
	for k, v := range d.in.Claims.Labels {
		d.facts.labels[k] = []fact{{v, true}}
	}
}

// locations gives conditions the record's word on where an asset is, and the host's.
func (d *derivation) locations(f Field, n Attribute) {
	recorded := false
	for _, w := range d.words[n] {
		if !w.Origin.Claimed {
			if recorded {
				continue
			}
			recorded = true
		}
		d.facts.fields[f] = append(d.facts.fields[f], fact{w.Value, w.Origin.Claimed})
	}
}

func (d *derivation) rules() {
	if d.rs.Rules == nil {
		return
	}
	for i := range d.rs.Rules.Rules {
		r := &d.rs.Rules.Rules[i]
		why, claimed, ok := r.match(&d.facts)
		if !ok {
			continue
		}
		for _, n := range settable {
			w, tagClaimed, ok := r.value(n, &d.facts)
			if !ok {
				continue
			}
			o := Origin{Source: ByRule, Name: r.ID, Detail: why, Digest: d.rs.Rules.Digest, By: d.rs.By, At: d.rs.At}
			if claimed || tagClaimed {
				o.Source, o.Claimed = ByClaim, true
			}
			d.say(n, w, o)
		}
	}
}

func (d *derivation) imports() {
	for i := range d.entries {
		l := &d.entries[i]
		for _, n := range sorted(l.Set) {
			d.say(n, l.Set[n], l.origin())
		}
	}
}

func (l *Listed) origin() Origin {
	return Origin{Source: ByImport, Name: l.Source, Detail: l.Place, Digest: l.Digest, By: l.By, At: l.At}
}

// claims takes labels and instance tags that bear an attribute's own name.
func (d *derivation) claims() {
	for _, from := range []struct {
		what string
		said map[string]string
	}{{"label", d.in.Claims.Labels}, {"instance tag", d.in.Claims.Tags}} {
		for _, k := range sorted(from.said) {
			n := Attribute(strings.NewReplacer("-", "_", " ", "_").Replace(strings.ToLower(k)))
			if !slices.Contains(settable, n) {
				continue
			}
			if w, err := Normal(n, strings.TrimSpace(from.said[k])); err == nil {
				d.say(n, w, Origin{Source: ByClaim, Name: from.what + " " + k, Claimed: true})
			}
		}
	}
}

// settle chooses the word that holds: the record's heaviest, then the strictest
// claim that is stricter. Words come in order of weight, claims anywhere.
func settle(out *Result, n Attribute, words []Word) {
	best := -1
	for i := range words {
		if !words[i].Origin.Claimed {
			best = i
			break
		}
	}
	recorded := ""
	if best >= 0 {
		recorded = words[best].Value
	}
	value := recorded
	for i := range words {
		if words[i].Origin.Claimed && stricter(n, words[i].Value, value) {
			best, value = i, words[i].Value
		}
	}
	if best < 0 {
		for i := range words {
			words[i].Why = whyNot(n, words[i], "")
		}
		return
	}
	words[best].Wins = true
	if words[best].Origin.Claimed {
		words[best].Origin.Instead = recorded
	}
	out.Attributes.set(n, value)
	out.Provenance[n] = words[best].Origin
	for i := range words {
		if i != best {
			words[i].Why = whyNot(n, words[i], value)
		}
	}
}

func whyNot(n Attribute, w Word, value string) string {
	switch {
	case w.Value == value:
		return "says the same"
	case !w.Origin.Claimed:
		return "another word weighs more, or a claim is stricter"
	case n == Class || n == ColdWallet:
		return "a host cannot claim this"
	default:
		return "a claim that is not stricter"
	}
}

// stricter says whether a host's claim may take the place of what is recorded:
// it never leads to a later deadline. A class has a table of its own, a cold
// wallet and an end-user machine calendars of their own, so no claim touches them.
func stricter(n Attribute, claim, recorded string) bool {
	switch n {
	case Exposure:
		return claim == string(sla.Internet) && recorded != claim
	case Environment:
		return claim == string(sla.Production) && (recorded == "" || recorded == string(sla.NonProduction))
	case Core, CrownJewel, HotWallet:
		return claim == yes && recorded != yes
	case DataSensitivity:
		rank := []string{"", "low", "medium", "high"}
		return slices.Index(rank, claim) > slices.Index(rank, recorded)
	case Owner, Service, Account, OU, Region:
		return recorded == "" && claim != ""
	default:
		return false
	}
}
