// Package web serves the movie-rental site as pages: an [http.Handler] over the site's
// library, with templates and a style sheet and without scripts.
//
// Each page shows which members answered it. A page waits as long as the library does
// while the primary moves or dies. The rental room's DESIGN.md says why it is built so.
package web
