package main

import (
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/patchproof/patchproof/collector/query"
	"github.com/patchproof/patchproof/collector/store"
)

// filterFlag is one filter of findings as a flag.
type filterFlag struct {
	field *query.Field
	into  *query.Filter
	said  string
}

var _ pflag.Value = (*filterFlag)(nil)

// Set takes a flag's words; a list that is said twice is one list.
func (v *filterFlag) Set(s string) error {
	if v.said != "" && v.field.Kind == query.KindWords {
		s = v.said + "," + s
	}
	if err := v.field.Set(v.into, s); err != nil {
		return err
	}
	v.said = s
	return nil
}

func (v *filterFlag) String() string { return v.said }

// Type names what the flag takes, for help.
func (v *filterFlag) Type() string {
	switch v.field.Kind {
	case query.KindSwitch, query.KindChoice:
		return "bool"
	case query.KindDate:
		return "date"
	case query.KindTime:
		return "time"
	default:
		return "list"
	}
}

// filterFlags adds every filter of findings.
func filterFlags(cmd *cobra.Command, f *query.Filter) {
	for i := range query.Fields {
		d := &query.Fields[i]
		if d.Name == "open" {
			continue // lists of findings have --all for that
		}
		doc := d.Doc
		if len(d.Words) > 0 {
			doc += ": " + strings.Join(d.Words, ", ")
		}
		if d.Kind == query.KindChoice {
			doc += " (--" + flagName(d.Name) + "=false)"
		}
		v := &filterFlag{field: d, into: f}
		flag := cmd.Flags().VarPF(v, flagName(d.Name), "", doc)
		if v.Type() == "bool" {
			flag.NoOptDefVal = "true"
		}
	}
	cmd.Flags().StringVar(&f.View, "view", "", "a ready-made question, see 'patchproof finding views'; other filters narrow it further")
}

// sortFlag adds the keys findings are sorted by.
func sortFlag(cmd *cobra.Command, f *query.Filter) {
	cmd.Flags().StringSliceVar(&f.Sort, "sort", nil, "sort by these keys, - before one turns it around: "+strings.Join(store.SortKeys, ", ")+" (default: most urgent first)")
}

func flagName(field string) string { return strings.ReplaceAll(field, "_", "-") }
