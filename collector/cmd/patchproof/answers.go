package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/patchproof/patchproof/collector/client"
	"github.com/patchproof/patchproof/collector/query"
)

// answers is a question to the collector and the ways to show what it answers.
// Every command that asks is made of one, so that all of them speak the same
// formats: table and json always, jsonl where there are items, csv and xlsx where
// there is a table.
type answers[T any] struct {
	// what says what is being done, for errors: "list assets".
	what string
	ask  func(ctx context.Context, c *client.Client, args []string) (T, error)
	// about says what an answer stands on.
	about func(*T) query.Meta
	// table is what people see; show, when set, is that in its place.
	table func(*T) *table
	show  func(io.Writer, *T)
	// sheet holds every field, for spreadsheets; without it they get the table.
	sheet func(*T) *table
	// items are the rows of an answer, one JSON object each.
	items func(*T) iter.Seq[any]
	// past is set for a question that can be asked of a moment that is over.
	past bool
	// talk is said on standard error under a table.
	talk func(io.Writer, *T)
}

// asks marks the commands that ask, among all others.
const asks = "patchproof-asks"

// each hands out the items of a slice.
func each[R any](rows []R) iter.Seq[any] {
	return func(yield func(any) bool) {
		for i := range rows {
			if !yield(&rows[i]) {
				return
			}
		}
	}
}

// both hands out one sequence after the other.
func both(a, b iter.Seq[any]) iter.Seq[any] {
	return func(yield func(any) bool) {
		for _, s := range []iter.Seq[any]{a, b} {
			for v := range s {
				if !yield(v) {
					return
				}
			}
		}
	}
}

func (a *answers[T]) formats() []string {
	out := []string{"table", "json"}
	if a.items != nil {
		out = append(out, "jsonl")
	}
	if a.table != nil || a.sheet != nil {
		out = append(out, "csv", "xlsx")
	}
	return out
}

// command gives cmd the flags of a question and makes it ask.
func (a *answers[T]) command(cmd *cobra.Command) *cobra.Command {
	cmd.Annotations = map[string]string{asks: "yes"}
	conn := connectFlags(cmd)
	formats := a.formats()
	out := outputFlag(cmd, formats...)
	asOf := new(string)
	if a.past {
		cmd.Flags().StringVar(asOf, "as-of", "", "answer for a moment that is over, as it was known then: a date (its end, in the policy's zone) or an instant (RFC 3339)")
	}
	provenance := new(bool)
	if slices.Contains(formats, "csv") {
		cmd.Flags().BoolVar(provenance, "provenance", false, "begin csv and jsonl with what the answer stands on (xlsx always has it on a second sheet)")
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		w := cmd.OutOrStdout()
		if *out == "xlsx" && terminalWidth(w) > 0 {
			return usage(fmt.Errorf("xlsx is not for a terminal: send it to a file, as in '%s -o xlsx > answer.xlsx'", cmd.CommandPath()))
		}
		c, err := conn.client()
		if err != nil {
			return err
		}
		c.AsOf = *asOf
		v, err := a.ask(cmd.Context(), c, args)
		if err != nil {
			return fmt.Errorf("%s: %w", a.what, err)
		}
		if err := a.write(w, cmd.ErrOrStderr(), &v, *out, *provenance); err != nil {
			return fmt.Errorf("write answer: %w", err)
		}
		return nil
	}
	return cmd
}

func (a *answers[T]) write(w, talk io.Writer, v *T, format string, provenance bool) error {
	switch format {
	case "json":
		return printJSON(w, v)
	case "jsonl":
		return a.jsonl(w, v, provenance)
	case "csv":
		if provenance {
			if err := writeComments(w, aboutRows(a.about(v))); err != nil {
				return err
			}
		}
		return a.cells(v).csv(w)
	case "xlsx":
		return writeXLSX(w, a.cells(v), aboutRows(a.about(v)))
	}
	if a.show != nil {
		a.show(w, v)
	} else {
		a.table(v).print(w)
	}
	if a.talk != nil {
		a.talk(talk, v)
	}
	return nil
}

// cells is the answer for a spreadsheet.
func (a *answers[T]) cells(v *T) *table {
	if a.sheet != nil {
		return a.sheet(v)
	}
	return a.table(v)
}

// jsonl writes one object a line, the provenance first when it is asked for.
func (a *answers[T]) jsonl(w io.Writer, v *T, provenance bool) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	if provenance {
		if err := enc.Encode(map[string]query.Meta{"provenance": a.about(v)}); err != nil {
			return err
		}
	}
	for item := range a.items(v) {
		if err := enc.Encode(item); err != nil {
			return err
		}
	}
	return nil
}

// aboutRows says in words what an answer stands on.
func aboutRows(m query.Meta) [][2]string {
	rows := [][2]string{
		{"as of", stamp(m.AsOf)},
		{"rows", strconv.Itoa(m.Count)},
		{"filters", dash(filterWords(m.Filters))},
		{"policy", dash(m.Policy)},
	}
	for _, f := range m.Feeds {
		words := fmt.Sprintf("digest %s, imported %s, age %s", dash(f.Digest), dash(stamp(f.ImportedAt)), age(m.AsOf.Sub(f.ImportedAt)))
		if !f.Published.IsZero() {
			words += ", published " + stamp(f.Published)
		}
		rows = append(rows, [2]string{"feed " + f.Name, words})
	}
	return rows
}

// writeComments begins a CSV file with lines that are no rows.
func writeComments(w io.Writer, rows [][2]string) error {
	var b strings.Builder
	for _, r := range rows {
		fmt.Fprintf(&b, "# %s: %s\n", clean(r[0]), clean(r[1]))
	}
	_, err := io.WriteString(w, b.String())
	return err
}
