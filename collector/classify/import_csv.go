package classify

import (
	"bytes"
	"encoding/csv"
	"errors"
	"io"
	"slices"
	"strconv"
	"strings"
)

// maxColumns bounds a header line.
const maxColumns = 1000

// columns are the names inventories use, folded, and what we call them.
var columns = map[string]string{
	"name": "name", "hostname": "name", "host": "name", "asset": "name", "assetname": "name", "ciname": "name", "servername": "name", "computername": "name",
	"instanceid": "instance_id", "ec2instanceid": "instance_id", "resourceid": "instance_id",
	"account": "account", "accountid": "account", "awsaccount": "account", "awsaccountid": "account",
	"region": "region", "awsregion": "region", "instancetype": "instance_type",
	"ou": "ou", "organizationalunit": "ou", "state": "state", "status": "state", "lifecycle": "state", "operationalstatus": "state",
	"class": "class", "assetclass": "class", "exposure": "exposure", "environment": "environment", "env": "environment",
	"core": "core", "crownjewel": "crown_jewel", "coldwallet": "cold_wallet", "hotwallet": "hot_wallet",
	"datasensitivity": "data_sensitivity", "owner": "owner", "ownedby": "owner", "team": "owner",
	"service": "service", "application": "service", "businessservice": "service",
}

// columnOf is the field a header names, "" when nobody reads it.
func columnOf(head string) string {
	if key, ok := strings.CutPrefix(head, "tag:"); ok {
		return "tag:" + strings.TrimSpace(key)
	}
	return columns[fold(head)]
}

func (r *listReader) csv(data []byte) {
	r.list.Format = "csv"
	c := csv.NewReader(bytes.NewReader(data))
	c.Comma = separator(data)
	c.ReuseRecord = true
	c.FieldsPerRecord = 0 // as many as the header has
	head, err := c.Read()
	if err != nil {
		r.csvFault(err)
		return
	}
	fields, ok := r.header(head)
	if !ok {
		return
	}
	for {
		row, err := c.Read()
		if errors.Is(err, io.EOF) || r.full {
			return
		}
		if errors.Is(err, csv.ErrFieldCount) {
			r.csvFault(err)
			continue // the next line may have faults too
		}
		if err != nil {
			r.csvFault(err)
			return
		}
		line, _ := c.FieldPos(0)
		e := Entry{Kind: KindInstance, Place: "line " + strconv.Itoa(line)}
		before := len(r.faults)
		for i, f := range fields {
			if f != "" {
				r.take(&e, f, row[i])
			}
		}
		if len(r.faults) == before {
			r.add(e)
		}
	}
}

func (r *listReader) csvFault(err error) {
	var at *csv.ParseError
	if !errors.As(err, &at) {
		r.fail("", "%v", err)
		return
	}
	message := at.Err.Error()
	if errors.Is(at.Err, csv.ErrFieldCount) {
		message = "it has more or fewer cells than the header line"
	}
	r.fail("line "+strconv.Itoa(at.Line), "%s", message)
}

// header maps the columns. Two that name one field are refused: which is meant
// nobody can tell.
func (r *listReader) header(head []string) ([]string, bool) {
	if len(head) > maxColumns {
		r.fail("line 1", "%d columns, at most %d", len(head), maxColumns)
		return nil, false
	}
	fields := make([]string, len(head))
	first := map[string]string{}
	for i, h := range head {
		h = strings.TrimSpace(h)
		f := columnOf(h)
		if f == "" {
			r.list.Ignored = append(r.list.Ignored, quote(h))
			continue
		}
		if other, twice := first[f]; twice {
			r.fail("line 1", "columns %s and %s are both the %s", quote(other), quote(h), f)
			continue
		}
		first[f], fields[i] = h, f
	}
	if !slices.Contains(fields, "name") && !slices.Contains(fields, "instance_id") {
		r.fail("line 1", "no column names the assets: want 'name' or 'instance_id'")
	}
	return fields, len(r.faults) == 0
}

// separator is the one the header line has most of: spreadsheets write commas,
// semicolons or tabs, as their language has it.
func separator(data []byte) rune {
	line, _, _ := bytes.Cut(data, []byte("\n"))
	best, most := ',', bytes.Count(line, []byte(","))
	for _, s := range []rune{';', '\t'} {
		if n := bytes.Count(line, []byte(string(s))); n > most {
			best, most = s, n
		}
	}
	return best
}
