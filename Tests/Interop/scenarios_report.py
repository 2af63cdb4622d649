"""Why a scenario failed, in one line, and the table of all of them."""
import re

# what swanctl prints when the daemon refuses something
REFUSAL = re.compile(r"^\s*loading ((?:connection|pool|authority|shared|\w+) '?[^'\n]*'?) failed: (.+)$|^\s*(?:.*?: )?"
                     r"(?:loading|load-\w+|unable to load) ?(.*?) ?failed: (.+)$", re.M)
# lines of the daemon's log that say what it could not do
COMPLAINT = re.compile(r"^(?:warning|error|critical) (.+)$", re.M)
CRASH = re.compile(r"^.*(?:Fatal error|Segmentation fault|Illegal instruction|core dumped|Trace/breakpoint trap).*$", re.M)
SECTIONS = ("connections.", "pools.", "authorities.", "secrets.")
LENGTH = 150


def one_line(text):
    """Short, without metadata, machine paths, and what breaks a table."""
    text = re.sub(r" \[[a-z-]+=[^\]]*\]$", "", text.strip())
    text = re.sub(r"(?:/[\w.+-]+){2,}/([\w.+-]+)", r"\1", text)
    text = re.sub(r"\s+", " ", text).replace("|", "\\|")
    return text if len(text) <= LENGTH else text[:LENGTH - 1].rstrip() + "…"


def reason(result, logs, console=""):
    """(reason, True if the daemon refused by itself): the first refusal, a crash, a complaint, else the check that failed."""
    for said in logs.values():
        if crash := CRASH.search(said):
            return one_line(f"crash: {crash[0]}"), True
    refusals = []
    for said in logs.values():
        for match in REFUSAL.finditer(said):
            what, why = (match[1], match[2]) if match[1] else (match[3], match[4])
            refusals.append(one_line(why if why.startswith(SECTIONS) else f"{what}: {why}"))
    if refusals:
        # a connection's line says most
        return distinct(sorted(refusals, key=lambda x: not x.startswith("connections."))), True
    for said in logs.values():
        complaints = [x for x in COMPLAINT.findall(said) if "failed" in x or "refused" in x or "not " in x]
        if complaints:
            return one_line(complaints[0]), False
    if result.get("error"):
        return one_line(result["error"]), False
    for check in result.get("failed", []):
        # the results keep the end of an output only
        whole = re.search(r"~~ output ~~\n(.*?)\n~~~~~~~~~~~~", console, re.S)
        if difference := differing_key(check, whole[1] if whole else check.get("got") or ""):
            return one_line(f"{check['host'].strip()}: {difference}"), False
        wanted = {"NO": "not ", "YES": ""}.get(check["expect"], f"{check['expect']} times ")
        return one_line(f"{check['host'].strip()}: `{check['cmd'].strip()}` should {wanted}show `{shortened(check['pattern'])}`"), False
    return result["status"], False


def differing_key(check, got):
    """The first key=value of the pattern that the output has with another value, or lacks; None where there is no such pattern."""
    if check["expect"] != "YES" or "=" not in got:
        return None
    for key, value in re.findall(r"\b([a-z][a-z-]*)=([\w@.:-]+)(?=[\s.])", check["pattern"]):
        if not re.search(rf"\b{key}={re.escape(value)}(?![\w-])", got):
            has = re.search(rf"\b{key}=(\S+)", got)
            return f"{key}={has[1] if has else '?'} instead of {value}"
    return None


def refuses_connection(said):
    """True if the daemon's output holds a connection that it does not take, and swanctl is through."""
    return bool(re.search(r"^\s*loading connection .* failed:", said, re.M) and re.search(r"^loaded \d+ of \d+ connections, [1-9]", said, re.M))


def distinct(refusals):
    kinds = list(dict.fromkeys(refusals))
    return kinds[0] if len(kinds) == 1 else one_line(f"{kinds[0]}; and {len(kinds) - 1} more")


def shortened(pattern):
    return pattern if len(pattern) <= 60 else pattern[:59] + "…"


def report(names, results, participants, roles):
    """The whole Markdown file."""
    ours = [r for r in roles if r not in ("strongswan", "control")]
    lines = ["# strongSwan's scenarios with causewayd", "",
             "Made by `make scenarios`. The scenarios are strongSwan's own integration tests; the daemon gets its connections from an",
             "unchanged swanctl over vici. Only scenarios that strongSwan 5.9.8 passes in the same environment are counted.", "",
             "| in whose place | passed | of |", "|---|---|---|"]
    for role, text in [("strongswan", "none: strongSwan on all hosts"), ("control", "moon, by a daemon that does nothing"),
                       *[(r, "all hosts" if r == "all" else r) for r in ours]]:
        found = results[role]
        lines.append(f"| {text} | {sum(r['status'] == 'pass' for r in found.values())} | {len(found)} |")
    lines += ["", "A dash: the host takes no part."]
    for group in dict.fromkeys(n.split("/")[0] for n in names):
        members = [n for n in names if n.split("/")[0] == group]
        lines += ["", f"## {group}", "", f"| scenario | {' | '.join(ours)} | what is missing |", "|---|" + "---|" * (len(ours) + 1)]
        for name in members:
            cells = [cell(results[r].get(name)) for r in ours]
            lines.append(f"| {name.split('/', 1)[1]} | {' | '.join(cells)} | {missing(name, results, ours)} |")
    return "\n".join(lines) + "\n"


def cell(result):
    return "–" if result is None or result["status"] == "skip" else "pass" if result["status"] == "pass" else "no"


def missing(name, results, ours):
    """The reason, or several with their roles where they differ."""
    if (control := results["strongswan"].get(name)) and control["status"] != "pass":
        return "strongSwan itself does not pass it here"
    reasons = {}
    for role in ours:
        result = results[role].get(name)
        if result and result["status"] not in ("pass", "skip"):
            reasons.setdefault(result["reason"], []).append(role)
    if len(reasons) < 2:
        return next(iter(reasons), "")
    return "; ".join(f"{', '.join(where)}: {why}" for why, where in reasons.items())
