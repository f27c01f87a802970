package main

import (
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"unicode/utf16"

	"github.com/xuri/excelize/v2"
)

// writeXLSX writes a table as a workbook: the rows on the first sheet, what they
// stand on on the second. Cells are text or numbers, never formulas or links.
func writeXLSX(w io.Writer, t *table, about [][2]string) error {
	if len(t.rows) >= excelize.TotalRows {
		return fmt.Errorf("a sheet holds %d rows and the answer has %d: ask for csv, or narrow the question", excelize.TotalRows-1, len(t.rows))
	}
	f := excelize.NewFile()
	defer func() { _ = f.Close() }()
	if err := f.SetSheetName("Sheet1", "rows"); err != nil {
		return err
	}
	if err := writeSheet(f, "rows", t); err != nil {
		return err
	}
	if _, err := f.NewSheet("about"); err != nil {
		return err
	}
	second := &table{columns: []column{{head: "WHAT"}, {head: "VALUE"}}}
	for _, r := range about {
		second.add(r[0], r[1])
	}
	if err := writeSheet(f, "about", second); err != nil {
		return err
	}
	_, err := f.WriteTo(w)
	return err
}

func writeSheet(f *excelize.File, name string, t *table) error {
	bold, err := f.NewStyle(&excelize.Style{Font: &excelize.Font{Bold: true}})
	if err != nil {
		return err
	}
	sw, err := f.NewStreamWriter(name)
	if err != nil {
		return err
	}
	if err := sw.SetPanes(&excelize.Panes{Freeze: true, YSplit: 1, TopLeftCell: "A2", ActivePane: "bottomLeft"}); err != nil {
		return err
	}
	if err := sw.SetColWidth(1, max(len(t.columns), 1), 20); err != nil {
		return err
	}
	heads := make([]any, len(t.columns))
	for i := range t.columns {
		heads[i] = excelize.Cell{StyleID: bold, Value: t.columns[i].name()}
	}
	if err := sw.SetRow("A1", heads); err != nil {
		return err
	}
	cells := make([]any, len(t.columns))
	for n, r := range t.rows {
		for i, cell := range r {
			cells[i] = xlsxCell(cell, t.columns[i].right)
		}
		if err := sw.SetRow("A"+strconv.Itoa(n+2), cells); err != nil {
			return err
		}
	}
	return sw.Flush()
}

// xlsxCell is a number in a column of numbers, else text that a workbook can
// hold: no control characters, and no longer than a cell may be, which it says.
func xlsxCell(s string, number bool) any {
	if number {
		if n, err := strconv.ParseFloat(s, 64); err == nil && !math.IsInf(n, 0) && !math.IsNaN(n) {
			return n
		}
	}
	s = strings.NewReplacer("\uFFFE", `\ufffe`, "\uFFFF", `\uffff`).Replace(clean(s))
	if len(s) <= excelize.TotalCellChars { // there are never more characters than bytes
		return s
	}
	units := utf16.Encode([]rune(s))
	if len(units) <= excelize.TotalCellChars {
		return s
	}
	say := fmt.Sprintf(" … cut: %d characters, -o json has them all", len(units))
	keep := units[:excelize.TotalCellChars-len(utf16.Encode([]rune(say)))]
	if utf16.IsSurrogate(rune(keep[len(keep)-1])) && keep[len(keep)-1] < 0xDC00 {
		keep = keep[:len(keep)-1] // half a pair is no character
	}
	return string(utf16.Decode(keep)) + say
}
