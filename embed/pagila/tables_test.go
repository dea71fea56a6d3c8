package pagila

// Table is a table of schema public and what it holds when the load is complete.
type Table struct {
	Name string
	// Rows counts the table's rows; for a partitioned table, those of its partitions.
	Rows int64
	// Partition is the parent's name if this is a partition of it, else empty.
	Partition string
}

// Tables returns every table with its number of rows, sorted by name. The slice is the
// caller's. Partitions are listed beside their parent, so add up only one of the two.
func Tables() []Table {
	return []Table{
		{Name: "actor", Rows: 200},
		{Name: "address", Rows: 603},
		{Name: "category", Rows: 16},
		{Name: "city", Rows: 600},
		{Name: "country", Rows: 109},
		{Name: "customer", Rows: 599},
		{Name: "film", Rows: 1000},
		{Name: "film_actor", Rows: 5462},
		{Name: "film_category", Rows: 1000},
		{Name: "inventory", Rows: 4581},
		{Name: "language", Rows: 6},
		{Name: "payment", Rows: 16049},
		{Name: "payment_p2022_01", Rows: 723, Partition: "payment"},
		{Name: "payment_p2022_02", Rows: 2401, Partition: "payment"},
		{Name: "payment_p2022_03", Rows: 2713, Partition: "payment"},
		{Name: "payment_p2022_04", Rows: 2547, Partition: "payment"},
		{Name: "payment_p2022_05", Rows: 2677, Partition: "payment"},
		{Name: "payment_p2022_06", Rows: 2654, Partition: "payment"},
		{Name: "payment_p2022_07", Rows: 2334, Partition: "payment"},
		{Name: "rental", Rows: 16044},
		{Name: "staff", Rows: 2},
		{Name: "store", Rows: 2},
	}
}
