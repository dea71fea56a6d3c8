// Package suitefile reads the files that say what pgapp bench suite measures. A file holds
// numbers, words out of lists and names by a pattern, so a stranger's file can ask for no
// more than a load that lasts long.
package suitefile
