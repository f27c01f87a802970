package classify

import (
	"cmp"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"
)

// Kind of an entry.
type Kind string

// Kinds of entries: a machine, a cloud account, an organizational unit.
const (
	KindInstance Kind = "instance"
	KindAccount  Kind = "account"
	KindOU       Kind = "ou"
)

// State of a machine, as a list says. Others than these are "", which counts as expected.
type State string

// States of a machine.
const (
	Running    State = "running"
	Stopped    State = "stopped"
	Terminated State = "terminated"
)

// Entry is what a list of assets says of one of them.
type Entry struct {
	Kind         Kind   `json:"kind"`
	InstanceID   string `json:"instance_id,omitempty"`
	Name         string `json:"name,omitempty"`
	Account      string `json:"account,omitempty"`
	Region       string `json:"region,omitempty"`
	InstanceType string `json:"instance_type,omitempty"`
	// OU is the unit's name or path; of an account or unit, its path of ids.
	OU    string            `json:"ou,omitempty"`
	State State             `json:"state,omitempty"`
	Tags  map[string]string `json:"tags,omitempty"`
	// Set are attributes the list states itself.
	Set map[Attribute]string `json:"set,omitempty"`
	// Place is where it stands in the file: "line 12".
	Place string `json:"place,omitempty"`
}

// Key names an entry within a list: the instance id where there is one, else
// account and name.
func (e *Entry) Key() string {
	if e.Kind == KindInstance && e.InstanceID == "" {
		return "name/" + e.Account + "/" + strings.ToLower(e.Name)
	}
	return string(e.Kind) + "/" + cmp.Or(e.InstanceID, e.Account)
}

// Same reports whether two entries say the same, wherever they stand.
func (e *Entry) Same(o *Entry) bool {
	a, b := *e, *o
	a.Place, b.Place = "", ""
	return reflect.DeepEqual(a, b)
}

// Listed is an entry with the import that brought it.
type Listed struct {
	// Source is the list's name, Digest the SHA-256 (hex) of its file.
	Source string
	Digest string
	// Leaf is of the import that first said it so, which orders words: the greater
	// is the newer. Seen is of the newest import that lists it.
	Leaf, Seen int64
	// By and At are of the import of Leaf.
	By string
	At time.Time
	Entry
}

// Identity is what ties an asset to entries of lists.
type Identity struct {
	Asset, Name, InstanceID, Account string
}

// Roster ties assets to the entries that lists have for them. An entry belongs to
// one asset: where two could be meant, it is given to none, and said.
type Roster struct {
	of       map[string][]Listed
	notes    map[string][]string
	owner    map[[2]string]string // source, key -> asset
	accounts map[string][]Listed
	units    map[string]Listed
}

// NewRoster ties every asset to what is listed of it.
func NewRoster(listed []Listed, ids []Identity) *Roster {
	r := &Roster{
		of: map[string][]Listed{}, notes: map[string][]string{}, owner: map[[2]string]string{},
		accounts: map[string][]Listed{}, units: map[string]Listed{},
	}
	listed = slices.Clone(listed)
	slices.SortFunc(listed, func(a, b Listed) int {
		return cmp.Or(cmp.Compare(b.Leaf, a.Leaf), strings.Compare(a.Source, b.Source), strings.Compare(a.Key(), b.Key()))
	})
	byInstance, byName := map[string][]int{}, map[string][]int{}
	for i := range listed {
		switch l := &listed[i]; l.Kind {
		case KindAccount:
			r.accounts[l.Account] = append(r.accounts[l.Account], *l)
		case KindOU:
			if _, newer := r.units[l.InstanceID]; !newer {
				r.units[l.InstanceID] = *l
			}
		default:
			if l.InstanceID != "" {
				byInstance[l.InstanceID] = append(byInstance[l.InstanceID], i)
			}
			if l.Name != "" {
				byName[strings.ToLower(l.Name)] = append(byName[strings.ToLower(l.Name)], i)
			}
		}
	}
	claims := map[int][]string{} // entry -> assets it could belong to
	for _, id := range ids {
		for _, i := range r.candidates(id, listed, byInstance, byName) {
			claims[i] = append(claims[i], id.Asset)
		}
	}
	for i := range listed {
		r.give(&listed[i], claims[i])
	}
	return r
}

// candidates are the entries an asset could be: by instance id, else by name,
// one in each list.
func (r *Roster) candidates(id Identity, listed []Listed, byInstance, byName map[string][]int) []int {
	var out []int
	sources := map[string]bool{}
	if id.InstanceID != "" {
		for _, i := range byInstance[id.InstanceID] {
			if agree(listed[i].Account, id.Account) {
				out = append(out, i)
				sources[listed[i].Source] = true
			}
		}
	}
	named := map[string][]int{}
	for _, i := range byName[strings.ToLower(id.Name)] {
		l := &listed[i]
		if !sources[l.Source] && agree(l.Account, id.Account) && agree(l.InstanceID, id.InstanceID) {
			named[l.Source] = append(named[l.Source], i)
		}
	}
	for _, source := range sorted(named) {
		if n := len(named[source]); n > 1 {
			r.notes[id.Asset] = append(r.notes[id.Asset], fmt.Sprintf("%d entries of %s bear its name: none is taken; give them instance ids", n, source))
			continue
		}
		out = append(out, named[source][0])
	}
	return out
}

// agree lets an empty word agree with any.
func agree(a, b string) bool { return a == "" || b == "" || a == b }

func (r *Roster) give(l *Listed, assets []string) {
	switch len(assets) {
	case 0:
	case 1:
		r.of[assets[0]] = append(r.of[assets[0]], *l)
		r.owner[[2]string{l.Source, l.Key()}] = assets[0]
	default:
		slices.Sort(assets)
		for _, a := range assets {
			r.notes[a] = append(r.notes[a], fmt.Sprintf("%s of %s could be %s: it is taken for none of them",
				cmp.Or(l.InstanceID, l.Name), l.Source, strings.Join(assets, ", ")))
		}
	}
}

// Of returns the entries of an asset, newest import first.
func (r *Roster) Of(asset string) []Listed { return r.of[asset] }

// Notes says which entries an asset did not get, and why.
func (r *Roster) Notes(asset string) []string { return r.notes[asset] }

// Owner returns the asset an entry was given to, "" when none.
func (r *Roster) Owner(l *Listed) string { return r.owner[[2]string{l.Source, l.Key()}] }

// unit returns where an account stands in the organization, and what says so.
// Ids of units that are listed with their names are shown by name.
func (r *Roster) unit(account string) (string, *Listed) {
	for i := range r.accounts[account] {
		l := &r.accounts[account][i]
		if l.OU == "" {
			continue
		}
		parts := strings.Split(l.OU, "/")
		for k, id := range parts {
			if u, ok := r.units[id]; ok && u.Name != "" {
				parts[k] = u.Name
			}
		}
		return strings.Join(parts, "/"), l
	}
	return "", nil
}
