package evidence

import (
	"cmp"
	"time"

	"github.com/patchproof/patchproof/collector/store"
)

// Given is an asset's name and attributes, and who gave it them when.
type Given struct {
	Name       string
	Attributes store.Attributes
	By         string
	At         time.Time
}

// Givens are assets' attributes as the leaves tell of them.
type Givens struct {
	of map[string]Given
	// rulesBy is who put the rules in force.
	rulesBy string
}

// NewGivens returns none.
func NewGivens() *Givens { return &Givens{of: map[string]Given{}} }

// Get returns what an asset was last given.
func (g *Givens) Get(asset string) (Given, bool) {
	v, ok := g.of[asset]
	return v, ok
}

// Trust takes in a trust leaf.
func (g *Givens) Trust(b *TrustBody, at time.Time) {
	g.of[b.Asset] = Given{Name: b.Name, Attributes: b.Attributes, By: b.By, At: at}
}

// Set takes in an attributes leaf.
func (g *Givens) Set(b *AttributesBody, at time.Time) {
	g.of[b.Asset] = Given{Name: b.Name, Attributes: b.Attributes, By: b.By, At: at}
}

// Classify takes in a classification leaf and what was recorded under it. What
// follows from a report is the doing of who put the rules in force.
func (g *Givens) Classify(b *ClassificationBody, changed []store.Classification, at time.Time) {
	by := cmp.Or(b.By, g.rulesBy, "collector")
	for i := range changed {
		v := g.of[changed[i].Asset]
		if v.Attributes != changed[i].Attributes {
			v.By, v.At = by, at
		}
		v.Attributes = changed[i].Attributes
		g.of[changed[i].Asset] = v
	}
	if b.Set != nil { // by hand, which may name the asset anew
		v := g.of[b.Set.Asset]
		v.Name = b.Set.Name
		g.of[b.Set.Asset] = v
	}
	if b.Rules != nil {
		g.rulesBy = b.By
	}
}
