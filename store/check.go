package store

import (
	"context"
	"errors"
	"fmt"

	bolt "go.etcd.io/bbolt"

	"pgapp/appliance"
)

// maxFindings bounds the findings of a check.
const maxFindings = 50

// CheckReport is the outcome of [Check].
type CheckReport struct {
	Info Info
	// Values counts the values of each bucket.
	Values map[string]int
	// Findings say what is wrong, at most 50 of them. None: the file is sound.
	Findings []string
}

// Check examines the database at path, from its pages to the references between
// records. Nothing may have the file open for writing. Check only reads. A file
// that can't be opened is a problem store-damaged or store-newer.
//
// On a damaged file bbolt may crash the process or not return: call Check in a
// process of its own, with a time limit.
func Check(ctx context.Context, path string) (report CheckReport, err error) {
	if err := ctx.Err(); err != nil {
		return report, fmt.Errorf("checking %q: %w", path, err)
	}
	if err := inspectFile(path); err != nil {
		return report, err
	}
	db, err := openBolt(path, true)
	if err != nil {
		return report, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	defer recoverDamage(path, &err)
	c := &checker{report: CheckReport{Values: map[string]int{}}}
	err = db.View(func(tx *bolt.Tx) error { return c.check(ctx, tx) })
	return c.report, asDamage(path, err)
}

type checker struct{ report CheckReport }

func (c *checker) found(format string, args ...any) {
	if len(c.report.Findings) < maxFindings {
		c.report.Findings = append(c.report.Findings, fmt.Sprintf(format, args...))
	}
}

func (c *checker) check(ctx context.Context, tx *bolt.Tx) error {
	var err error
	if c.report.Info, err = readInfo(tx); err != nil {
		return err
	}
	for e := range tx.Check() { // to its end: the goroutine behind it waits for us
		c.found("%v", e)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if c.report.Info.Schema != SchemaVersion {
		return nil // only the older pgapp knows the records of its schema
	}
	c.frames(tx)
	if len(c.report.Findings) > 0 {
		return nil
	}
	if err := readEpochs(tx, &c.report.Info); err != nil {
		c.found("%v", err)
		return nil
	}
	c.records(tx)
	return nil
}

// frames checks that every value can be read.
func (c *checker) frames(tx *bolt.Tx) {
	for _, name := range buckets() {
		b, err := bucketOf(tx, name)
		if err != nil {
			c.found("%v", err)
			continue
		}
		err = b.ForEach(func(k, v []byte) error {
			c.report.Values[name]++
			if _, err := unwrap(name, k, v); err != nil {
				c.found("%v", err)
			}
			return nil
		})
		if err != nil {
			c.found("%v", err)
		}
	}
}

// records checks the references between records.
func (c *checker) records(tx *bolt.Tx) {
	clusters := map[string]appliance.Cluster{}
	each(c, tx, bucketClusters, func(key string, v appliance.Cluster) {
		clusters[key] = v
		c.same("cluster", key, v.Name)
	})
	each(c, tx, bucketSecrets, func(key string, _ map[string][]byte) {
		if _, ok := clusters[key]; !ok {
			c.found("secrets of cluster %q, which isn't there", key)
		}
	})
	running := map[string]string{}
	each(c, tx, bucketRunning, func(key, id string) { running[key] = id })
	finished := map[string]bool{}
	each(c, tx, bucketFinished, func(key, id string) {
		finished[id] = true
		if len(key) < 8 || key[8:] != id {
			c.found("the ended operation %q stands under the key of another", id)
		}
	})
	c.operations(tx, running, finished)
	each(c, tx, bucketTokens, func(key string, v storedToken) { c.same("token", key, v.ID) })
	each(c, tx, bucketSettings, func(string, []byte) {})
	keys := map[string]bool{}
	each(c, tx, bucketIdempotency, func(key string, _ storedRecord) { keys[key] = true })
	each(c, tx, bucketIdemTimes, func(_, key string) {
		if !keys[key] {
			c.found("the time of idempotency key %q, which isn't there", key)
		}
		delete(keys, key)
	})
	for key := range keys {
		c.found("idempotency key %q has no time", key)
	}
}

// operations checks that each is either ended or its cluster's running one.
func (c *checker) operations(tx *bolt.Tx, running map[string]string, finished map[string]bool) {
	each(c, tx, bucketOperations, func(key string, v appliance.Operation) {
		c.same("operation", key, v.ID)
		runs := running[v.Cluster] == key
		if runs == v.State.Final() || finished[key] != v.State.Final() {
			c.found("operation %s is %s, but its cluster's running one: %t, among the ended: %t", key, v.State, runs, finished[key])
		}
		delete(finished, key)
		if runs {
			delete(running, v.Cluster)
		}
	})
	for id := range finished {
		c.found("the ended operation %q isn't there", id)
	}
	for cluster, id := range running {
		c.found("the running operation %q of cluster %q isn't there", id, cluster)
	}
}

func (c *checker) same(kind, key, name string) {
	if key != name {
		c.found("%s %q says that it is %q", kind, key, name)
	}
}

// each decodes every value of the bucket.
func each[T any](c *checker, tx *bolt.Tx, bucket string, visit func(key string, v T)) {
	b, err := bucketOf(tx, bucket)
	if err != nil {
		c.found("%v", err)
		return
	}
	_ = b.ForEach(func(k, value []byte) error {
		var v T
		if err := decode(bucket, k, value, &v); err != nil {
			c.found("%v", err)
			return nil
		}
		visit(string(k), v)
		return nil
	})
}
