package classify_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/patchproof/patchproof/collector/classify"
)

func read(t testing.TB, text string) classify.List {
	t.Helper()
	l, err := classify.ReadImport([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestReadCSV(t *testing.T) {
	want := []classify.Entry{
		{
			Kind: classify.KindInstance, Name: "wallet-1", InstanceID: "i-1", Account: "012345678901", Place: "line 2", Tags: map[string]string{"Team": "custody, eu"},
			Set: map[classify.Attribute]string{classify.Environment: "production", classify.CrownJewel: "true", classify.Owner: "@custody"},
		},
		{Kind: classify.KindInstance, Name: "old", State: classify.Terminated, Place: "line 3", Set: map[classify.Attribute]string{classify.Exposure: "internal", classify.Core: "false"}},
	}
	comma := "\xEF\xBB\xBFHost Name,Instance-ID,AWS account ID,Environment,Exposure,Crown Jewel,Owned by,Status,core,tag:Team,Rack\r\n" +
		"wallet-1,i-1,012345678901,Production,,yes,@custody,In use,,\"custody, eu\",=HYPERLINK()\r\n" +
		"old,-,,unknown,Internal,,,Decommissioned,N,,B3\r\n"
	got := read(t, comma)
	if diff := cmp.Diff(want, got.Entries); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got.Format != "csv" || len(got.Ignored) != 1 || got.Ignored[0] != `"Rack"` {
		t.Errorf("got format %q, ignored %v", got.Format, got.Ignored)
	}
	semicolon := read(t, "name;account;owner\na;1;x,y\n")
	if semicolon.Entries[0].Set[classify.Owner] != "x,y" {
		t.Errorf("semicolons: got %+v", semicolon.Entries)
	}
	if tabs := read(t, "name\taccount\na\t1\n"); tabs.Entries[0].Account != "1" {
		t.Errorf("tabs: got %+v", tabs.Entries)
	}
}

func TestReadJSONObjects(t *testing.T) {
	for _, text := range []string{
		`[{"name":"a","accountId":"1","core":true,"tags":{"k":"v"},"rack":{"x":1}}]`,
		`{"assets":[{"name":"a","accountId":"1","core":true,"tags":{"k":"v"},"rack":{"x":1}}]}`,
	} {
		got := read(t, text)
		e := got.Entries[0]
		if e.Name != "a" || e.Account != "1" || e.Set[classify.Core] != "true" || e.Tags["k"] != "v" || got.Format != "json" || got.Ignored[0] != `"rack"` {
			t.Errorf("got %+v of %+v", e, got)
		}
	}
}

func TestReadAWS(t *testing.T) {
	for name, tc := range map[string]struct {
		text    string
		want    []classify.Entry
		skipped int
	}{
		"ec2": {
			text: `{"Reservations":[{"OwnerId":"111111111111","Instances":[
			{"InstanceId":"i-1","InstanceType":"m6i.large","Placement":{"AvailabilityZone":"eu-west-1a"},"State":{"Code":16,"Name":"running"},"Tags":[{"Key":"Name","Value":"web-1"},{"Key":"env","Value":"prod"}]},
			{"InstanceId":"i-2","Placement":{"AvailabilityZone":"us-gov-west-1b"},"State":{"Name":"shutting-down"}},
			{"InstanceId":"i-3","Placement":{"AvailabilityZone":"us-west-2-lax-1a"},"State":{"Name":"stopped"}}]}]}`,
			want: []classify.Entry{
				{Kind: classify.KindInstance, InstanceID: "i-1", Name: "web-1", Account: "111111111111", Region: "eu-west-1", InstanceType: "m6i.large", State: classify.Running, Tags: map[string]string{"Name": "web-1", "env": "prod"}, Place: "Reservations[0].Instances[0]"},
				{Kind: classify.KindInstance, InstanceID: "i-2", Account: "111111111111", Region: "us-gov-west-1", State: classify.Terminated, Place: "Reservations[0].Instances[1]"},
				{Kind: classify.KindInstance, InstanceID: "i-3", Account: "111111111111", Region: "us-west-2", State: classify.Stopped, Place: "Reservations[0].Instances[2]"},
			},
		},
		"ssm": {
			text: `{"InstanceInformationList":[{"InstanceId":"i-1","PingStatus":"ConnectionLost","ComputerName":"ip-1.internal"}]}`,
			want: []classify.Entry{{Kind: classify.KindInstance, InstanceID: "i-1", Name: "ip-1.internal", Place: "InstanceInformationList[0]"}},
		},
		"ssm inventory": {
			text: `{"Entities":[{"Id":"i-1","Data":{"AWS:InstanceInformation":{"Content":[{"ComputerName":"a","InstanceStatus":"Terminated"}]}}}]}`,
			want: []classify.Entry{{Kind: classify.KindInstance, InstanceID: "i-1", Name: "a", State: classify.Terminated, Place: "Entities[0]"}},
		},
		"config snapshot": {
			text: `{"fileVersion":"1.0","configurationItems":[
			{"resourceType":"AWS::RDS::DBInstance","resourceId":"db"},
			{"resourceType":"AWS::EC2::Instance","resourceId":"i-1","accountId":"1","awsRegion":"eu-west-1","configurationItemStatus":"OK","tags":{"k":"v"},"configuration":"{\"instanceType\":\"t3.micro\",\"state\":{\"name\":\"running\"}}"},
			{"resourceType":"AWS::EC2::Instance","resourceId":"i-2","configurationItemStatus":"ResourceDeleted","tags":{},"configuration":null}]}`,
			want: []classify.Entry{
				{Kind: classify.KindInstance, InstanceID: "i-1", Account: "1", Region: "eu-west-1", InstanceType: "t3.micro", State: classify.Running, Tags: map[string]string{"k": "v"}, Place: "configurationItems[1]"},
				{Kind: classify.KindInstance, InstanceID: "i-2", State: classify.Terminated, Place: "configurationItems[2]"},
			}, skipped: 1,
		},
		"config query": {
			text: `{"Results":["{\"resourceType\":\"AWS::EC2::Instance\",\"resourceId\":\"i-1\",\"accountId\":\"1\",\"tags\":[{\"key\":\"Name\",\"value\":\"web\"}],\"configuration\":{\"state\":{\"name\":\"terminated\"}}}"]}`,
			want: []classify.Entry{{Kind: classify.KindInstance, InstanceID: "i-1", Name: "web", Account: "1", State: classify.Terminated, Tags: map[string]string{"Name": "web"}, Place: "Results[0]"}},
		},
		"config resources": {
			text: `{"resourceIdentifiers":[{"resourceType":"AWS::EC2::Instance","resourceId":"i-1","resourceDeletionTime":1}]}`,
			want: []classify.Entry{{Kind: classify.KindInstance, InstanceID: "i-1", State: classify.Terminated, Place: "resourceIdentifiers[0]"}},
		},
		"organizations": {
			text: `{"Accounts":[{"Id":"111111111111","Name":"prod","Status":"ACTIVE","Paths":["o-x/r-y/ou-a/ou-b/111111111111/"]},{"Id":"222222222222","Paths":["o-x/r-y/222222222222/"]}],
			"OrganizationalUnits":[{"Id":"ou-b","Name":"Trading","Path":"o-x/r-y/ou-a/ou-b/"}]}`,
			want: []classify.Entry{
				{Kind: classify.KindAccount, Account: "111111111111", Name: "prod", OU: "ou-a/ou-b", Place: "Accounts[0]"},
				{Kind: classify.KindAccount, Account: "222222222222", OU: "r-y", Place: "Accounts[1]"},
				{Kind: classify.KindOU, InstanceID: "ou-b", Name: "Trading", OU: "ou-a/ou-b", Place: "OrganizationalUnits[0]"},
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			got := read(t, tc.text)
			if diff := cmp.Diff(tc.want, got.Entries); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if len(got.Skipped) != tc.skipped {
				t.Errorf("got skipped %v, want %d kinds", got.Skipped, tc.skipped)
			}
		})
	}
}

func TestUnitsAreShownByName(t *testing.T) {
	l := read(t, `{"Accounts":[{"Id":"1","Paths":["o-x/r-y/ou-a/ou-b/1/"]}],"OrganizationalUnits":[{"Id":"ou-b","Name":"Trading"}]}`)
	var listed []classify.Listed
	for _, e := range l.Entries {
		listed = append(listed, classify.Listed{Source: "org", Leaf: 1, Entry: e})
	}
	in := classify.Input{Name: "x", Declared: classify.Declared{Attributes: classify.Attributes{Account: "1"}}}
	if got := derive(classify.RuleSet{}, in, listed...).Attributes.OU; got != "ou-a/Trading" {
		t.Errorf("got %q, want ou-a/Trading", got)
	}
}

func TestHostileImports(t *testing.T) {
	big := strings.Repeat("x", 10<<20)
	for name, tc := range map[string]struct{ text, want string }{
		"empty":                   {"", "the file is empty"},
		"only a header":           {"name\n", "lists no asset"},
		"10 MB cell":              {"name,owner\na," + big + "\n", "line 2: owner has 10485760 bytes, at most 253"},
		"10 MB JSON value":        {`[{"name":"a","owner":"` + big + `"}]`, "[0]: owner has 10485760 bytes"},
		"formula":                 {"name,owner\na,=1+1\n", "line 2: owner \"=1+1\" looks like a formula"},
		"command":                 {"name\n@SUM(1)\n", "looks like a formula"},
		"bidi":                    {"name\na\u202eb\n", `line 2: name "a\u202eb" holds characters that cannot be printed`},
		"duplicate headers":       {"name,owner,Owner\na,b,c\n", `line 1: columns "owner" and "Owner" are both the owner`},
		"two names of one field":  {"host,name\na,b\n", `columns "host" and "name" are both the name`},
		"duplicate keys":          {`[{"name":"a","name":"b"}]`, "both the name"},
		"no column":               {"rack\nb3\n", "no column names the assets"},
		"UTF-16":                  {"\xff\xfen\x00a\x00", "UTF-16"},
		"latin 1":                 {"name\nok\nM\xfcnchen\n", "not UTF-8 text, see line 3"},
		"gzip":                    {"\x1f\x8b\x08", "compressed"},
		"workbook":                {"PK\x03\x04", "workbook"},
		"NUL":                     {"name\na\x00\n", "NUL"},
		"ragged":                  {"name,owner\na\nb,c,d\ne,f\n", "line 3: it has more or fewer cells"},
		"quote":                   {"name\n\"a\n", "line"},
		"nobody":                  {"name,owner\n,x\n", "line 2: names no asset"},
		"the same twice":          {"instance_id\ni-1\ni-1\n", `line 3: "i-1" is already on line 2`},
		"bad value":               {"name,exposure,core\na,moon,2\n", `line 2: exposure "moon": want internet, internal, unknown`},
		"deep":                    {strings.Repeat(`{"a":`, 100) + "1" + strings.Repeat("}", 100), "nests deeper"},
		"deep brackets unclosed":  {strings.Repeat("[", 1<<20), "nests deeper"},
		"deep in a string":        {`{"Results":["` + strings.Repeat("[", 100) + `"]}`, "Results[0]: it nests deeper"},
		"cut off":                 {`{"Reservations":[{`, "not the JSON that is expected"},
		"trailing":                {`[{"name":"a"}] x`, "not the JSON"},
		"another document":        {`{"Buckets":[]}`, "no list of assets in the document"},
		"another shape":           {`{"Reservations":{"a":1}}`, "Reservations: not the JSON that is expected"},
		"not objects":             {`[1,2]`, "[0]: not an object"},
		"nested value":            {`[{"name":{"a":1}}]`, "[0]: \"name\" is not a single value"},
		"tags that are no object": {`[{"name":"a","tags":["x"]}]`, "[0].tags: not an object"},
		"long tag":                {`[{"name":"a","tags":{"k":"` + strings.Repeat("v", 2000) + `"}}]`, "longer than a tag can be"},
		"account without id":      {`{"Accounts":[{"Name":"x"}]}`, "Accounts[0]: the account has no Id"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := classify.ReadImport([]byte(tc.text))
			var bad *classify.Invalid
			if !errors.As(err, &bad) || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %.300v, want it to say %q", err, tc.want)
			}
			if err != nil && len(err.Error()) > 4000 {
				t.Errorf("the error has %d bytes", len(err.Error()))
			}
		})
	}
}

func FuzzReadImport(f *testing.F) {
	for _, seed := range []string{
		"name,instance_id,owner,tag:a\nx,i-1,y,z\n", `[{"name":"a","tags":{"k":"v"}}]`, `{"Reservations":[{"Instances":[{"InstanceId":"i-1"}]}]}`,
		`{"configurationItems":[{"resourceType":"AWS::EC2::Instance","resourceId":"i","tags":[],"configuration":"{}"}]}`, `{"Accounts":[{"Id":"1","Paths":["/"]}]}`,
		`{"Results":["{}"],"Entities":[{"Id":"x"}],"OrganizationalUnits":[{"Id":"ou"}]}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		l, err := classify.ReadImport(data)
		if err != nil {
			return
		}
		seen := map[string]bool{}
		for i := range l.Entries {
			e := &l.Entries[i]
			if seen[e.Key()] {
				t.Fatalf("%q twice", e.Key())
			}
			seen[e.Key()] = true
			text, err := json.Marshal(e)
			if err != nil {
				t.Fatal(err)
			}
			var back classify.Entry
			if err := json.Unmarshal(text, &back); err != nil || !back.Same(e) || back.Place != e.Place {
				t.Fatalf("got %+v back, want %+v (%v)", back, *e, err)
			}
		}
	})
}

// sharedAWS finds the recorded AWS answers beside the repository's root.
func sharedAWS(t *testing.T) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			break
		}
		if dir == filepath.Dir(dir) {
			t.Fatal("no go.mod above this package")
		}
		dir = filepath.Dir(dir)
	}
	aws := filepath.Join(dir, "..", "shared", "data", "aws")
	if _, err := os.Stat(aws); err != nil {
		t.Skip("../shared/data/aws is not beside the checkout: no recorded answers to read")
	}
	return aws
}

// Every recorded answer of EC2, Config and Organizations is read whole: as many
// entries as it has instances or accounts.
func TestRecordedAnswers(t *testing.T) {
	root := filepath.Join(sharedAWS(t), "custodian", "placebo")
	files := map[string]int{}
	err := filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
		base := filepath.Base(path)
		for _, kind := range []string{"ec2.DescribeInstances_", "organizations.ListAccounts_", "ssm.DescribeInstanceInformation_"} {
			if !strings.HasPrefix(base, kind) {
				continue
			}
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			recordedAnswer(t, path, data)
			files[kind]++
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if files["ec2.DescribeInstances_"] < 50 || files["organizations.ListAccounts_"] < 1 {
		t.Errorf("read %v files, want more", files)
	}
}

func recordedAnswer(t *testing.T, path string, data []byte) {
	t.Helper()
	var rec struct {
		Data json.RawMessage `json:"data"`
	}
	if err := json.Unmarshal(data, &rec); err != nil {
		t.Errorf("%s: %v", path, err)
		return
	}
	want := bytes.Count(rec.Data, []byte(`"InstanceId"`)) + bytes.Count(rec.Data, []byte(`"JoinedMethod"`))
	l, err := classify.ReadImport(rec.Data)
	if strings.Contains(path, "test_ec2_normalize_tag") { // was edited to hold one instance three times
		if err == nil || !strings.Contains(err.Error(), "is already on") {
			t.Errorf("%s: got %v, want it to name the repeated instance", path, err)
		}
		return
	}
	if want == 0 {
		if err == nil {
			t.Errorf("%s: an answer without an instance is read as %d", path, len(l.Entries))
		}
		return
	}
	if err != nil {
		t.Errorf("%s: %v", path, err)
		return
	}
	if len(l.Entries) == 0 || len(l.Entries) > want {
		t.Errorf("%s: got %d entries, the answer names %d", path, len(l.Entries), want)
	}
}
