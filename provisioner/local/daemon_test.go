package local

import (
	"context"
	"fmt"
	"os"
	"time"

	"pgapp/appliance"
)

// daemonEnv makes the test binary a stand-in for pgapp's daemon: it starts
// the server of member node0 in that home and then waits to be killed.
const daemonEnv = "PGAPP_TEST_DAEMON_HOME"

func daemonMain() int {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	p := New(Config{Home: os.Getenv(daemonEnv)})
	c := testCluster("node0")
	c.UUID = os.Getenv("PGAPP_TEST_DAEMON_UUID")
	c.PostgresBin = os.Getenv("PGAPP_TEST_DAEMON_BIN")
	if err := p.Machine(c, appliance.Member{Name: "node0"}).StartServer(ctx); err != nil {
		fmt.Println("failed:", err)
		return 1
	}
	fmt.Println("started")
	<-ctx.Done()
	return 1
}
