package libvirt

import (
	"context"
	"errors"
	"os/exec"
	"regexp"
	"strconv"
	"strings"

	"pgapp/appliance"
	"pgapp/appliance/doctor"
)

// firewallFindings reads the host's rules, which needs root. The rules are a
// hint; a guest's connection is the proof.
func firewallFindings(ctx context.Context, system System, s appliance.Spec) []appliance.Finding {
	rules, err := system.Run(ctx, "nft", "list", "ruleset")
	if errors.Is(err, exec.ErrNotFound) || !system.Root() {
		return []appliance.Finding{doctor.Found("host-firewall", appliance.LevelSkip, "only root can read the firewall's rules, with nft; members test the connection to the host when they boot")}
	}
	if err != nil {
		return []appliance.Finding{doctor.Found("host-firewall", appliance.LevelSkip, "the firewall's rules can't be read: %v", err)}
	}
	return judgeFirewall(string(rules), s)
}

// judgeFirewall looks for rules that are known to block guests.
func judgeFirewall(rules string, s appliance.Spec) []appliance.Finding {
	forward := doctor.Found("host-forward", appliance.LevelPass, "guests' packets are forwarded")
	if chainDrops(rules, "forward") {
		forward = doctor.Advise(doctor.Found("host-forward", appliance.LevelWarn, "the host drops forwarded packets by default (Docker does that): guests may not reach a package mirror"),
			"sudo iptables -I DOCKER-USER -i virbr0 -j ACCEPT && sudo iptables -I DOCKER-USER -o virbr0 -j ACCEPT")
	}
	if s.Primary == appliance.PrimaryVM {
		return []appliance.Finding{forward}
	}
	input := doctor.Found("host-firewall", appliance.LevelPass, "no known rule blocks guests from the host's PostgreSQL")
	port := appliance.DefaultPort
	switch {
	case strings.Contains(rules, "table inet firewalld") && !openPort(rules, port):
		input = doctor.Advise(doctor.Found("host-firewall", appliance.LevelWarn, "firewalld's zone libvirt refuses guests at the host's port %d", port), "%s", firewallHint("", port))
	case strings.Contains(rules, "ufw-user-input") && !openPort(rules, port), chainDrops(rules, "input") && !openPort(rules, port):
		input = doctor.Advise(doctor.Found("host-firewall", appliance.LevelWarn, "the host's firewall drops packets that no rule accepts, and no rule accepts port %d", port), "%s", firewallHint("", port))
	}
	return []appliance.Finding{input, forward}
}

func chainDrops(rules, hook string) bool {
	return regexp.MustCompile(`hook ` + hook + `\b[^;]*;\s*policy drop`).MatchString(rules)
}

func openPort(rules string, port int) bool {
	return regexp.MustCompile(`dport (\{[^}]*\b)?` + strconv.Itoa(port) + `\b`).MatchString(rules)
}

func firewallHint(bridge string, port int) string {
	if bridge == "" {
		bridge = "virbr0"
	}
	n := strconv.Itoa(port)
	return "firewalld: sudo firewall-cmd --permanent --zone=libvirt --add-port=" + n + "/tcp && sudo firewall-cmd --reload; " +
		"ufw: sudo ufw allow in on " + bridge + " to any port " + n + " proto tcp; " +
		"nft: accept iifname " + bridge + " tcp dport " + n + " in the input chain"
}

// reachScript opens a connection from the guest to the host. A refusal is as
// good as a connection: packets get through, and nothing listens yet.
const reachScript = `out=$(LC_ALL=C timeout 5 bash -c 'exec 3<>"/dev/tcp/$1/$2"' bash "$1" "$2" 2>&1) && exit 0
case $out in *"Connection refused"*) exit 0 ;; esac
printf '%s' "$out" >&2
exit 1`

// reachHost proves, from the guest, that the host's PostgreSQL can be reached.
func (p *Provider) reachHost(ctx context.Context, c appliance.Cluster, g *guest) error {
	for _, m := range c.Members {
		if m.Placement != appliance.PlacementLocal {
			continue
		}
		_, err := g.Run(ctx, appliance.Command{Argv: []string{"sh", "-c", reachScript, "sh", m.Host, strconv.Itoa(m.Port)}})
		var exit *appliance.ExitError
		if !errors.As(err, &exit) {
			return err
		}
		return appliance.NewProblem(appliance.ErrHostFirewall, "%s can't reach the host's PostgreSQL at %s port %d: %s",
			g.member.Name, m.Host, m.Port, appliance.LastLine("timed out\n"+exit.Stderr)).
			WithHint("open the port: %s", firewallHint("", m.Port))
	}
	return nil
}
