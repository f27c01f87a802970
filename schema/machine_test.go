package schema_test

import (
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/patchproof/patchproof/schema"
)

const (
	i1, i2 = "ec2/i-0123456789abcdef0", "ec2/i-0123456789abcdef1"
	u1, u2 = "ec2a1b2c-0000-0000-0000-000000000001", "ec2a1b2c-0000-0000-0000-000000000002"
)

var m1, m2 = strings.Repeat("5a", 16), strings.Repeat("5b", 16)

func TestMachineLike(t *testing.T) {
	c1, c2 := "cloud-init/web-1", "cloud-init/web-2"
	for _, test := range []struct {
		name string
		a, b schema.Machine
		want schema.Likeness
		fact string
	}{
		{"as_it_was", schema.Machine{i1, u1, m1}, schema.Machine{i1, u1, m1}, schema.SameMachine, "instance id"},
		{"launched_from_its_image", schema.Machine{i1, u1, m1}, schema.Machine{i2, u2, m1}, schema.AnotherMachine, "instance id"},
		{"image_with_an_own_machine_id", schema.Machine{i1, u1, m1}, schema.Machine{i2, u2, m2}, schema.AnotherMachine, "instance id"},
		{"instance_on_other_hardware", schema.Machine{i1, u1, m1}, schema.Machine{i1, u2, m1}, schema.SameMachine, "instance id"},
		{"machine_id_made_anew", schema.Machine{i1, u1, m1}, schema.Machine{i1, u1, m2}, schema.SameMachine, "instance id"},
		{"machine_id_made_anew_on_hardware", schema.Machine{"", u1, m1}, schema.Machine{"", u1, m2}, schema.SameMachine, "product UUID"},
		{"metadata_service_away", schema.Machine{i1, u1, m1}, schema.Machine{"", u1, m1}, schema.SameMachine, "product UUID"},
		{"metadata_service_away_on_a_copy", schema.Machine{i1, u1, m1}, schema.Machine{"", u2, m1}, schema.AnotherMachine, "product UUID"},
		{"disk_in_another_machine", schema.Machine{"", u1, m1}, schema.Machine{"", u2, m1}, schema.AnotherMachine, "product UUID"},
		{"one_seed_for_two_machines", schema.Machine{c1, u1, m1}, schema.Machine{c1, u2, m1}, schema.AnotherMachine, "product UUID"},
		{"another_seed", schema.Machine{c1, u1, m1}, schema.Machine{c2, u1, m1}, schema.AnotherMachine, "instance id"},
		{"seed_alone", schema.Machine{c1, "", m1}, schema.Machine{c1, "", m2}, schema.SameMachine, "instance id"},
		{"cloud_init_for_a_metadata_service", schema.Machine{i1, u1, m1}, schema.Machine{c1, u1, m1}, schema.SameMachine, "product UUID"},
		{"uuid_without_permission", schema.Machine{"", "", m1}, schema.Machine{"", "", m1}, schema.SameMachine, "machine-id"},
		{"uuid_without_permission_and_another_id", schema.Machine{"", "", m1}, schema.Machine{"", "", m2}, schema.AnotherMachine, "machine-id"},
		{"permission_lost", schema.Machine{"", u1, m1}, schema.Machine{"", "", m1}, schema.UnknownMachine, ""},
		{"permission_lost_and_another_id", schema.Machine{"", u1, m1}, schema.Machine{"", "", m2}, schema.AnotherMachine, "machine-id"},
		{"permission_won", schema.Machine{"", "", m1}, schema.Machine{"", u1, m1}, schema.UnknownMachine, ""},
		{"instance_appears", schema.Machine{"", "", m1}, schema.Machine{i1, "", m1}, schema.UnknownMachine, ""},
		{"nothing_known", schema.Machine{}, schema.Machine{}, schema.UnknownMachine, ""},
		{"nothing_in_common", schema.Machine{i1, "", ""}, schema.Machine{"", "", m1}, schema.UnknownMachine, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, why := test.a.Like(test.b)
			if got != test.want || !strings.HasPrefix(why, test.fact) || why == "" {
				t.Errorf("%v, %v: got %s (%s), want %s by %s", test.a, test.b, got, why, test.want, test.fact)
			}
		})
	}
}

// Which of two machines is asked about the other does not matter, no machine is
// another than itself, and a fact that is lost never makes two machines one.
func TestMachineLikeProperties(t *testing.T) {
	draw := rapid.Custom(func(t *rapid.T) schema.Machine {
		return schema.Machine{
			rapid.SampledFrom([]string{"", i1, i2, "cloud-init/a", "cloud-init/b"}).Draw(t, "instance"),
			rapid.SampledFrom([]string{"", u1, u2}).Draw(t, "uuid"),
			rapid.SampledFrom([]string{"", m1, m2}).Draw(t, "machine-id"),
		}
	})
	rapid.Check(t, func(t *rapid.T) {
		a, b := draw.Draw(t, "a"), draw.Draw(t, "b")
		ab, _ := a.Like(b)
		if ba, _ := b.Like(a); ab != ba {
			t.Fatalf("%v, %v: %s one way and %s the other", a, b, ab, ba)
		}
		if aa, _ := a.Like(a); aa == schema.AnotherMachine {
			t.Fatalf("%v is another than itself", a)
		}
		less := b
		less.Instance, less.ProductUUID = "", ""
		if got, why := a.Like(less); got == schema.SameMachine && (a.Instance != "" || a.ProductUUID != "") {
			t.Fatalf("%v taken for one that only shows %v: %s", a, less, why)
		}
	})
}

func TestReportMachine(t *testing.T) {
	for name, test := range map[string]struct {
		report schema.Report
		want   schema.Machine
	}{
		"metadata_service_before_cloud_init": {
			schema.Report{Host: schema.Host{InstanceID: "other", MachineID: m1}, Cloud: &schema.Cloud{Provider: "aws", InstanceID: "i-0123456789abcdef0"}},
			schema.Machine{i1, "", m1},
		},
		"cloud_init_names_the_same_instance": {schema.Report{Host: schema.Host{InstanceID: "i-0123456789abcdef0"}}, schema.Machine{i1, "", ""}},
		"cloud_init_was_told_nothing":        {schema.Report{Host: schema.Host{InstanceID: "iid-datasource-none"}}, schema.Machine{}},
		"cloud_init_elsewhere":               {schema.Report{Host: schema.Host{InstanceID: "i-web"}}, schema.Machine{"cloud-init/i-web", "", ""}},
		"uuid_in_capitals":                   {schema.Report{Host: schema.Host{ProductUUID: strings.ToUpper(u1)}}, schema.Machine{"", u1, ""}},
		"uuid_that_many_share":               {schema.Report{Host: schema.Host{ProductUUID: "03000200-0400-0500-0006-000700080009"}}, schema.Machine{}},
		"uuid_not_set":                       {schema.Report{Host: schema.Host{ProductUUID: "Not Settable"}}, schema.Machine{}},
	} {
		t.Run(name, func(t *testing.T) {
			if got := test.report.Machine(); got != test.want {
				t.Errorf("got %+v, want %+v", got, test.want)
			}
		})
	}
}
