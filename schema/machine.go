package schema

import (
	"fmt"
	"strings"
)

// Machine is what tells one machine from another. Each fact is the host's own
// word; an empty one could not be read.
type Machine struct {
	// Instance is the id the cloud gave it, with who gave it in front:
	// "ec2/i-0123456789abcdef0", "cloud-init/9c3f...".
	Instance string `json:"instance,omitempty"`
	// ProductUUID is the firmware's (DMI), lower case.
	ProductUUID string `json:"product_uuid,omitempty"`
	// MachineID is machine-id(5), which an operating system makes for itself.
	MachineID string `json:"machine_id,omitempty"`
}

// Machine returns what a report says of the machine it was made on.
func (r *Report) Machine() Machine {
	m := Machine{
		Instance:    InstanceName("", r.Host.InstanceID),
		ProductUUID: ProductUUID(r.Host.ProductUUID), MachineID: r.Host.MachineID,
	}
	if r.Cloud != nil && r.Cloud.InstanceID != "" {
		m.Instance = InstanceName(r.Cloud.Provider, r.Cloud.InstanceID)
	}
	return m
}

// InstanceName returns an instance id with who gave it in front, empty when the
// id names no instance. What cloud-init calls an instance of EC2 is what the
// metadata service calls it; provider is empty for ids by cloud-init.
func InstanceName(provider, id string) string {
	switch {
	case id == "" || id == "nocloud" || id == "iid-datasource-none":
		return "" // what cloud-init says when it was given none
	case provider == "aws" || provider == "" && isEC2(id):
		return "ec2/" + id
	case provider == "":
		return cloudInit + "/" + id
	}
	return provider + "/" + id
}

// cloudInit stands before the ids that cloud-init was told.
const cloudInit = "cloud-init"

func isEC2(id string) bool {
	rest, ok := strings.CutPrefix(id, "i-")
	return ok && (len(rest) == 8 || len(rest) == 17) && strings.Trim(rest, hexDigits) == ""
}

// sharedUUIDs are what firmware says that was never given a UUID of its own:
// many machines have them, so they tell none from another.
var sharedUUIDs = map[string]bool{
	"00000000-0000-0000-0000-000000000000": true,
	"ffffffff-ffff-ffff-ffff-ffffffffffff": true, // SMBIOS 3.7, 7.2.1: not set
	"03000200-0400-0500-0006-000700080009": true, // American Megatrends' sample
	"00020003-0004-0005-0006-000700080009": true, // the same, in the other byte order
	"12345678-1234-5678-90ab-cddeefaabbcc": true,
	"fefefefe-fefe-fefe-fefe-fefefefefefe": true,
}

// ProductUUID returns a firmware's UUID in lower case, empty when it is none or
// one that many machines share.
func ProductUUID(s string) string {
	s = strings.ToLower(s)
	if len(s) != 36 || strings.Trim(s, hexDigits+"-") != "" || strings.Count(s, "-") != 4 || sharedUUIDs[s] {
		return ""
	}
	return s
}

// Likeness is the answer to whether two machines are one.
type Likeness string

// Likenesses.
const (
	SameMachine    Likeness = "same"
	AnotherMachine Likeness = "another"
	// UnknownMachine: what could be compared does not decide it.
	UnknownMachine Likeness = "unknown"
)

// Like says whether m and o are one machine, and by which fact. The strongest
// fact that both have decides:
//
//  1. The instance id. An image started elsewhere has another. When a cloud's
//     service gave it, an instance that moved to other hardware keeps it, and
//     equal ids decide too; what cloud-init was told can be told to many.
//  2. The firmware's UUID. A disk in another machine, or a copied virtual
//     machine, has another; a system installed anew keeps it, whatever its
//     machine-id.
//  3. The machine-id, or an equal id by cloud-init. When nothing stronger is known
//     of both, another machine-id is another machine: one mistaken for another
//     enrols once more, two mistaken for one would share a key. Equal ones decide
//     nothing when one machine has something stronger that the other lacks:
//     copies of an image share them.
func (m Machine) Like(o Machine) (Likeness, string) {
	given := m.Instance != "" && o.Instance != "" && provider(m.Instance) == provider(o.Instance)
	switch {
	case given && (m.Instance != o.Instance || provider(m.Instance) != cloudInit):
		return alike("instance id", m.Instance, o.Instance)
	case m.ProductUUID != "" && o.ProductUUID != "":
		return alike("product UUID", m.ProductUUID, o.ProductUUID)
	case m.MachineID != "" && o.MachineID != "" && m.MachineID != o.MachineID && !given:
		return alike("machine-id", m.MachineID, o.MachineID)
	case m.ProductUUID != "" || o.ProductUUID != "" || (m.Instance != "" || o.Instance != "") && !given:
		return UnknownMachine, "no instance id and no product UUID is known of both"
	case given:
		return alike("instance id", m.Instance, o.Instance)
	case m.MachineID != "" && o.MachineID != "":
		return alike("machine-id", m.MachineID, o.MachineID)
	}
	return UnknownMachine, "neither instance id, product UUID nor machine-id is known of both"
}

// FromCloud reports whether a cloud's own service gave an instance id, and not
// cloud-init's files.
func FromCloud(instance string) bool { return instance != "" && provider(instance) != cloudInit }

func provider(instance string) string {
	name, _, _ := strings.Cut(instance, "/")
	return name
}

func alike(fact, a, b string) (Likeness, string) {
	if a == b {
		return SameMachine, fmt.Sprintf("%s is %s", fact, a)
	}
	return AnotherMachine, fmt.Sprintf("%s is %s, it was %s", fact, a, b)
}

// String lists what is known of a machine.
func (m Machine) String() string {
	var known []string
	for _, f := range []struct{ name, value string }{
		{"instance", m.Instance}, {"product UUID", m.ProductUUID}, {"machine-id", m.MachineID},
	} {
		if f.value != "" {
			known = append(known, f.name+" "+f.value)
		}
	}
	if len(known) == 0 {
		return "nothing is known of it"
	}
	return strings.Join(known, ", ")
}
