package cve

import "encoding/json"

// record is what we read of a CVE record.
type record struct {
	Type     string `json:"dataType"`
	Version  string `json:"dataVersion"`
	Metadata struct {
		ID      string `json:"cveId"`
		State   string `json:"state"`
		Updated string `json:"dateUpdated"`
	} `json:"cveMetadata"`
	Containers struct {
		CNA container   `json:"cna"`
		ADP []container `json:"adp"`
	} `json:"containers"`
}

type container struct {
	Provider struct {
		Org  string `json:"orgId"`
		Name string `json:"shortName"`
	} `json:"providerMetadata"`
	Metrics []metric `json:"metrics"`
}

type metric struct {
	V4    *score `json:"cvssV4_0"`
	V31   *score `json:"cvssV3_1"`
	V30   *score `json:"cvssV3_0"`
	V2    *score `json:"cvssV2_0"`
	Other *struct {
		Type    string          `json:"type"`
		Content json.RawMessage `json:"content"`
	} `json:"other"`
}

type score struct {
	Vector string   `json:"vectorString"`
	Base   *float64 `json:"baseScore"`
}

type ssvc struct {
	Timestamp string              `json:"timestamp"`
	Options   []map[string]string `json:"options"`
}
