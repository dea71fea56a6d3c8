package store

import (
	"bytes"
	"encoding/json"
	"fmt"

	bolt "go.etcd.io/bbolt"
)

// toSchema2 adds to each cluster's record what changes of primary need: the promotion
// by which the recorded primary came to its timeline, if that is known, and each
// member's epoch. Where the promotion's position is not known, it is 0/0.
func toSchema2(tx *bolt.Tx) error {
	b, err := bucketOf(tx, bucketClusters)
	if err != nil {
		return err
	}
	records := map[string]map[string]any{}
	err = b.ForEach(func(k, value []byte) error {
		payload, err := unwrap(bucketClusters, k, value)
		if err != nil {
			return err
		}
		var record map[string]any
		d := json.NewDecoder(bytes.NewReader(payload))
		d.UseNumber() // numbers keep all their digits
		if err := d.Decode(&record); err != nil {
			return fmt.Errorf("decoding %q in %s: %w", k, bucketClusters, err)
		}
		records[string(k)] = record
		return nil
	})
	if err != nil {
		return err
	}
	for name, record := range records {
		fillSchema2(record)
		if err := put(tx, bucketClusters, name, record); err != nil {
			return err
		}
	}
	return nil
}

func fillSchema2(record map[string]any) {
	epoch, known := record["epoch"]
	if !known {
		return
	}
	if timeline, ok := record["timeline"]; ok && record["primary"] != "" && record["promotions"] == nil {
		record["promotions"] = []any{map[string]any{
			"epoch": epoch, "member": record["primary"], "timeline": timeline,
			"switch_lsn": "0/0", "at": record["created_at"], "reason": "recorded by an older pgapp",
		}}
	}
	members, _ := record["members"].([]any)
	for _, m := range members {
		if member, ok := m.(map[string]any); ok && member["epoch"] == nil {
			member["epoch"] = epoch
		}
	}
}
