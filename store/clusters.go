package store

import (
	"context"
	"fmt"

	bolt "go.etcd.io/bbolt"

	"pgapp/appliance"
)

// Clusters returns every cluster's record, ordered by name.
func (s *Store) Clusters(ctx context.Context) ([]appliance.Cluster, error) {
	return recall(ctx, s, "reading the clusters", bucketClusters, func(tx *bolt.Tx) ([]appliance.Cluster, error) {
		return list[appliance.Cluster](tx, bucketClusters)
	})
}

// Cluster returns the record, or a problem not-found.
func (s *Store) Cluster(ctx context.Context, name string) (appliance.Cluster, error) {
	return recall(ctx, s, fmt.Sprintf("reading cluster %q", name), bucketClusters+"/"+name, func(tx *bolt.Tx) (appliance.Cluster, error) {
		return getCluster(tx, name)
	})
}

// UpdateCluster applies the function to the record inside a transaction. The
// function must not call the store or change the name. The record's revision
// grows by one if the function changes what it covers. An error of the function is returned unchanged, and nothing is
// stored; an unknown name is a problem not-found.
func (s *Store) UpdateCluster(ctx context.Context, name string, change func(*appliance.Cluster) error) (appliance.Cluster, error) {
	var c appliance.Cluster
	err := s.update(ctx, fmt.Sprintf("storing cluster %q", name), func(tx *bolt.Tx) (err error) {
		c, err = changeCluster(tx, name, change)
		return err
	})
	if err != nil {
		return appliance.Cluster{}, err
	}
	return c, nil
}

// changeCluster applies the function to the stored record.
func changeCluster(tx *bolt.Tx, name string, change func(*appliance.Cluster) error) (appliance.Cluster, error) {
	c, err := getCluster(tx, name)
	if err != nil {
		return c, err
	}
	before, err := getCluster(tx, name) // a second copy, which change can't reach
	if err != nil {
		return c, err
	}
	if err := change(&c); err != nil {
		return c, callerError{err}
	}
	if c.Name != name {
		return c, fmt.Errorf("the change renames it to %q", c.Name)
	}
	if c.Revision = before.Revision; !sameForClients(before, c) {
		c.Revision++
	}
	return c, put(tx, bucketClusters, name, c)
}

// Secrets returns the cluster's secrets; Values is never nil. An unknown
// cluster is a problem not-found.
func (s *Store) Secrets(ctx context.Context, cluster string) (appliance.Secrets, error) {
	return recall(ctx, s, fmt.Sprintf("reading the secrets of cluster %q", cluster), bucketSecrets+"/"+cluster, func(tx *bolt.Tx) (appliance.Secrets, error) {
		return getSecrets(tx, cluster)
	})
}

// UpdateSecrets changes the cluster's secrets by the function, under the same
// terms as [Store.UpdateCluster].
func (s *Store) UpdateSecrets(ctx context.Context, cluster string, change func(*appliance.Secrets) error) error {
	return s.update(ctx, fmt.Sprintf("storing the secrets of cluster %q", cluster), func(tx *bolt.Tx) error {
		sec, err := getSecrets(tx, cluster)
		if err != nil {
			return err
		}
		if err := change(&sec); err != nil {
			return callerError{err}
		}
		return putSecrets(tx, cluster, sec)
	})
}

func getCluster(tx *bolt.Tx, name string) (appliance.Cluster, error) {
	var c appliance.Cluster
	found, err := get(tx, bucketClusters, name, &c)
	if err == nil && !found {
		err = noCluster(name)
	}
	return c, err
}

func noCluster(name string) error {
	return appliance.NewProblem(appliance.ErrNotFound, "there is no cluster %q", name).
		WithHint("`pgapp up --cluster NAME` creates one")
}

// requireCluster returns a problem not-found unless the cluster is on record.
func requireCluster(tx *bolt.Tx, name string) error {
	b, err := bucketOf(tx, bucketClusters)
	if err == nil && b.Get([]byte(name)) == nil {
		err = noCluster(name)
	}
	return err
}

func getSecrets(tx *bolt.Tx, cluster string) (appliance.Secrets, error) {
	out := appliance.Secrets{Values: map[string]appliance.Secret{}}
	if err := requireCluster(tx, cluster); err != nil {
		return out, err
	}
	plain := map[string][]byte{}
	if _, err := get(tx, bucketSecrets, cluster, &plain); err != nil {
		return out, err
	}
	for k, v := range plain {
		out.Values[k] = appliance.NewSecret(string(v))
	}
	return out, nil
}

// putSecrets is the only place where secrets are revealed to the file. They
// are stored as bytes, since JSON strings would change what isn't UTF-8.
func putSecrets(tx *bolt.Tx, cluster string, sec appliance.Secrets) error {
	plain := make(map[string][]byte, len(sec.Values))
	for k, v := range sec.Values {
		plain[k] = []byte(v.Reveal())
	}
	return put(tx, bucketSecrets, cluster, plain)
}
