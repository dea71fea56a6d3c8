// Package bench keeps the records of what pgapp bench has measured.
package bench
