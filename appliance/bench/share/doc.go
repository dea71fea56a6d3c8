// Package share gives each local member of a cluster the same share of the
// machine's processors while a suite runs, and measures what the members use.
// Members on one host share its cores: without equal shares, a measurement says
// nothing about what a further member would bring.
//
// A share is a bandwidth limit of a control group, which the kernel enforces.
//
//   - In version 2 the limit is cpu.max of the member's own group, which the local
//     provider makes. The group's extended attribute [Mark] holds the process that
//     set the limit and the value from before. Where the parent group didn't pass
//     the controller cpu on, it does while a share is set, and has the attribute too.
//   - In version 1 the limit is cpu.cfs_quota_us of a group of this package's own
//     below the postmaster's group, to which the member's processes move. The
//     group's name says which process made it: pgapp-share-PID-START-MEMBER-POSTMASTER,
//     where START is the start time of the process PID in /proc/PID/stat.
//
// So what a killed process left is found without a record: [Restore] looks for
// marks and names of processes that have ended.
package share
