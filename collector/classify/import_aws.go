package classify

import (
	"encoding/json"
	"fmt"
	"strings"
)

// instanceType is the resource type of an EC2 instance in AWS Config.
const instanceType = "AWS::EC2::Instance"

// awsTag is a tag as EC2 (Key, Value) and Config (key, value) spell it;
// encoding/json matches both.
type awsTag struct{ Key, Value string }

// fill takes fields in order and adds the entry unless one was at fault.
func (r *listReader) fill(e Entry, tags []awsTag, fields ...[2]string) {
	before := len(r.faults)
	for _, t := range tags {
		r.tag(&e, t.Key, t.Value)
	}
	for _, f := range fields {
		r.take(&e, f[0], f[1])
	}
	// The Name tag is what people call an instance.
	if e.Name == "" && e.Tags["Name"] != "" {
		r.take(&e, "name", e.Tags["Name"])
	}
	if len(r.faults) == before {
		r.add(e)
	}
}

// reservations reads 'aws ec2 describe-instances'.
func (r *listReader) reservations(raw json.RawMessage, _ map[string]json.RawMessage) {
	var list []struct {
		OwnerID   string `json:"OwnerId"`
		Instances []struct {
			InstanceID   string `json:"InstanceId"`
			InstanceType string
			Placement    struct{ AvailabilityZone string }
			State        struct{ Name string }
			Tags         []awsTag
		}
	}
	if !r.decode("Reservations", raw, &list) {
		return
	}
	for i, res := range list {
		for k, in := range res.Instances {
			r.fill(Entry{Kind: KindInstance, Place: fmt.Sprintf("Reservations[%d].Instances[%d]", i, k)}, in.Tags,
				[2]string{"instance_id", in.InstanceID}, [2]string{"account", res.OwnerID}, [2]string{"instance_type", in.InstanceType},
				[2]string{"region", regionOf(in.Placement.AvailabilityZone)}, [2]string{"state", in.State.Name})
		}
	}
}

// regionOf cuts the letter of a zone: eu-west-1a, and local zones' us-west-2-lax-1a.
func regionOf(zone string) string {
	parts := strings.SplitN(strings.TrimRight(zone, "abcdefghijklmnopqrstuvwxyz"), "-", 5)
	return strings.Join(parts[:min(len(parts), regionParts(zone))], "-")
}

// regionParts is how many words a region has: us-gov-west-1 has four.
func regionParts(zone string) int {
	if strings.HasPrefix(zone, "us-gov-") || strings.HasPrefix(zone, "us-iso") {
		return 4
	}
	return 3
}

// managed reads 'aws ssm describe-instance-information'.
func (r *listReader) managed(raw json.RawMessage, _ map[string]json.RawMessage) {
	var list []struct {
		InstanceID   string `json:"InstanceId"`
		ComputerName string
		Name         string
	}
	if !r.decode("InstanceInformationList", raw, &list) {
		return
	}
	for i, in := range list {
		name := in.Name
		if name == "" {
			name = in.ComputerName
		}
		r.fill(Entry{Kind: KindInstance, Place: fmt.Sprintf("InstanceInformationList[%d]", i)}, nil,
			[2]string{"instance_id", in.InstanceID}, [2]string{"name", name})
	}
}

// inventory reads 'aws ssm get-inventory'.
func (r *listReader) inventory(raw json.RawMessage, _ map[string]json.RawMessage) {
	var list []struct {
		ID   string `json:"Id"`
		Data map[string]struct {
			Content []map[string]any
		}
	}
	if !r.decode("Entities", raw, &list) {
		return
	}
	for i, in := range list {
		about := map[string]string{}
		for _, c := range in.Data["AWS:InstanceInformation"].Content {
			for k, v := range c {
				about[k], _ = v.(string)
			}
		}
		r.fill(Entry{Kind: KindInstance, Place: fmt.Sprintf("Entities[%d]", i)}, nil,
			[2]string{"instance_id", in.ID}, [2]string{"name", about["ComputerName"]}, [2]string{"state", about["InstanceStatus"]})
	}
}

// item is a configuration item, as Config's snapshots, histories and advanced
// queries spell it.
type item struct {
	ResourceType  string `json:"resourceType"`
	ResourceID    string `json:"resourceId"`
	AccountID     string `json:"accountId"`
	Region        string `json:"awsRegion"`
	Status        string `json:"configurationItemStatus"`
	Tags          json.RawMessage
	Configuration json.RawMessage
}

// configuration reads AWS Config snapshots and resource histories.
func (r *listReader) configuration(raw json.RawMessage, _ map[string]json.RawMessage) {
	var list []item
	if !r.decode("configurationItems", raw, &list) {
		return
	}
	for i := range list {
		r.item(fmt.Sprintf("configurationItems[%d]", i), &list[i])
	}
}

// selected reads 'aws configservice select-resource-config': each result is JSON
// in a string.
func (r *listReader) selected(raw json.RawMessage, _ map[string]json.RawMessage) {
	var list []string
	if !r.decode("Results", raw, &list) {
		return
	}
	for i, text := range list {
		place := fmt.Sprintf("Results[%d]", i)
		var it item
		if depth([]byte(text)) > maxDepth {
			r.fail(place, "it nests deeper than %d", maxDepth)
			continue
		}
		if r.decode(place, []byte(text), &it) {
			r.item(place, &it)
		}
	}
}

func (r *listReader) item(place string, it *item) {
	if it.ResourceType != instanceType {
		r.list.Skipped[quote(it.ResourceType)]++
		return
	}
	var about struct {
		InstanceID   string `json:"instanceId"`
		InstanceType string `json:"instanceType"`
		State        struct{ Name string }
		Tags         []awsTag
	}
	conf := it.Configuration
	if len(conf) > 0 && conf[0] == '"' { // a snapshot quotes it
		var text string
		if !r.decode(place+".configuration", conf, &text) {
			return
		}
		conf = json.RawMessage(text)
	}
	if len(conf) > 0 && string(conf) != "null" && !r.decode(place+".configuration", conf, &about) {
		return
	}
	tags, ok := r.itemTags(place, it.Tags)
	if !ok {
		return
	}
	if len(tags) == 0 {
		tags = about.Tags
	}
	state := about.State.Name
	if strings.HasPrefix(it.Status, "ResourceDeleted") {
		state = string(Terminated)
	}
	id := it.ResourceID
	if id == "" {
		id = about.InstanceID
	}
	r.fill(Entry{Kind: KindInstance, Place: place}, tags, [2]string{"instance_id", id}, [2]string{"account", it.AccountID},
		[2]string{"region", it.Region}, [2]string{"instance_type", about.InstanceType}, [2]string{"state", state})
}

// itemTags reads tags as an object (snapshots) or a list (queries).
func (r *listReader) itemTags(place string, raw json.RawMessage) ([]awsTag, bool) {
	if len(raw) == 0 || string(raw) == "null" {
		return nil, true
	}
	if raw[0] == '[' {
		var list []awsTag
		return list, r.decode(place+".tags", raw, &list)
	}
	var m map[string]string
	if !r.decode(place+".tags", raw, &m) {
		return nil, false
	}
	list := make([]awsTag, 0, len(m))
	for _, k := range sorted(m) {
		list = append(list, awsTag{k, m[k]})
	}
	return list, true
}

// discovered reads 'aws configservice list-discovered-resources'.
func (r *listReader) discovered(raw json.RawMessage, _ map[string]json.RawMessage) {
	var list []struct {
		ResourceType string          `json:"resourceType"`
		ResourceID   string          `json:"resourceId"`
		ResourceName string          `json:"resourceName"`
		Deleted      json.RawMessage `json:"resourceDeletionTime"`
	}
	if !r.decode("resourceIdentifiers", raw, &list) {
		return
	}
	for i, in := range list {
		if in.ResourceType != instanceType {
			r.list.Skipped[quote(in.ResourceType)]++
			continue
		}
		state := ""
		if len(in.Deleted) > 0 && string(in.Deleted) != "null" {
			state = string(Terminated)
		}
		r.fill(Entry{Kind: KindInstance, Place: fmt.Sprintf("resourceIdentifiers[%d]", i)}, nil,
			[2]string{"instance_id", in.ResourceID}, [2]string{"name", in.ResourceName}, [2]string{"state", state})
	}
}

// accounts reads 'aws organizations list-accounts'.
func (r *listReader) accounts(raw json.RawMessage, _ map[string]json.RawMessage) {
	var list []struct {
		ID    string `json:"Id"`
		Name  string
		Paths []string
	}
	if !r.decode("Accounts", raw, &list) {
		return
	}
	for i, a := range list {
		ou := ""
		if len(a.Paths) > 0 {
			ou = unitPath(a.Paths[0], a.ID)
		}
		place := fmt.Sprintf("Accounts[%d]", i)
		if a.ID == "" {
			r.fail(place, "the account has no Id")
			continue
		}
		r.fill(Entry{Kind: KindAccount, Place: place}, nil,
			[2]string{"account", a.ID}, [2]string{"name", a.Name}, [2]string{"ou", ou})
	}
}

// unitPath is the path below the organization's root: o-x/r-y/ou-a/ou-b/1111/
// of account 1111 is ou-a/ou-b; directly below the root it is the root.
func unitPath(path, self string) string {
	parts := strings.Split(strings.Trim(path, "/"), "/")
	if len(parts) > 0 && parts[len(parts)-1] == self {
		parts = parts[:len(parts)-1]
	}
	if len(parts) > 0 && strings.HasPrefix(parts[0], "o-") {
		parts = parts[1:]
	}
	if len(parts) > 1 {
		parts = parts[1:] // the root is every path's first
	}
	return strings.Join(parts, "/")
}

// units reads 'aws organizations list-organizational-units-for-parent'.
func (r *listReader) units(raw json.RawMessage, _ map[string]json.RawMessage) {
	var list []struct {
		ID   string `json:"Id"`
		Name string
		Path string
	}
	if !r.decode("OrganizationalUnits", raw, &list) {
		return
	}
	for i, u := range list {
		place := fmt.Sprintf("OrganizationalUnits[%d]", i)
		if u.ID == "" {
			r.fail(place, "the unit has no Id")
			continue
		}
		r.fill(Entry{Kind: KindOU, Place: place}, nil,
			[2]string{"instance_id", u.ID}, [2]string{"name", u.Name}, [2]string{"ou", unitPath(u.Path, "")})
	}
}
