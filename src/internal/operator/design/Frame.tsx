/** The frame of every page: navigation, search box, viewer and scope, time zone, and colours. */
import type { ComponentChildren, VNode } from "preact"
import { commandOf, type Question } from "../commandLine.js"
import { useSite } from "../site.js"
import { ActionForm } from "./ActionForm.js"
import { Command } from "./Command.js"
import { actorText } from "./Names.js"
import { Text } from "./Text.js"

export const css = `
.skip{position:absolute;left:-9999px}.skip:focus{left:var(--s4);top:var(--s2);background:var(--raise);padding:var(--s2);z-index:2}
header.bar{display:flex;flex-wrap:wrap;gap:var(--s2) var(--s5);align-items:center;padding:var(--s2) max(var(--s5),calc(50% - 780px + var(--s5)));border-bottom:1px solid var(--line);background:var(--raise)}
.mark{font-weight:650;letter-spacing:-.01em;text-decoration:none;font-size:15px;padding:3px 0}.mark i{color:var(--accent);font-style:normal}
header.bar nav ul{display:flex;flex-wrap:wrap;gap:0 var(--s4)}header.bar nav a{display:inline-block;text-decoration:none;color:var(--ink2);padding:4px 0}header.bar nav a:hover{color:var(--ink)}header.bar nav a[aria-current]{color:var(--ink);box-shadow:0 2px 0 var(--accent)}
.find{flex:1 1 180px;max-width:380px;margin-left:auto}.find input{background:var(--sink);border-color:var(--line)}
.commands{display:flex;flex-wrap:wrap;gap:0 var(--s3)}.who{color:var(--ink3);font-size:var(--small)}.who b{color:var(--ink2);font-weight:600}
main{padding:var(--s5);max-width:1560px;margin:auto}
footer.foot{display:flex;flex-wrap:wrap;gap:var(--s2) var(--s4);align-items:center;padding:var(--s3) var(--s5) var(--s5);max-width:1560px;margin:auto;color:var(--ink3);font-size:var(--small)}
footer.foot .act button[aria-pressed=true]{color:var(--ink);font-weight:650;box-shadow:0 2px 0 var(--accent);border-radius:0}footer.foot form{display:inline-flex;gap:var(--s1);align-items:center}footer.foot input:not([type=hidden]){width:150px;font-size:var(--small);min-height:26px;padding:2px 6px}
@media(max-width:760px){main,header.bar,footer.foot{padding-left:var(--s4);padding-right:var(--s4)}main{padding-top:var(--s4)}.find{order:3;max-width:none;flex-basis:100%}.who{margin-left:auto}header.bar nav{order:4;flex-basis:100%}}
`

export type Place =
  "home" | "timeline" | "actions" | "coverage" | "redaction" | "retention" | "evidence" | "exports" | "none"

const NavItem = ({
  current,
  href,
  name
}: {
  readonly href: string
  readonly name: string
  readonly current: boolean
}): VNode => (
  <li>
    <a href={href} {...(current ? { "aria-current": "page" as const } : {})}>
      {name}
    </a>
  </li>
)

const Navigation = ({ place }: { readonly place: Place }): VNode => {
  const { offers, to, viewer } = useSite()
  const items: ReadonlyArray<readonly [boolean, Place, string, string]> = [
    [true, "timeline", "Timeline", to.timeline()],
    [true, "actions", "Actions", to.actions()],
    [offers.coverage && viewer.may("coverage"), "coverage", "Coverage", to.address("/coverage")],
    [offers.coverage && viewer.may("policy"), "redaction", "Redaction", to.address("/policy/redaction")],
    [
      offers.retention && (viewer.may("policy") || viewer.may("retention")),
      "retention",
      "Retention",
      to.address("/policy/retention")
    ],
    [offers.evidence && viewer.may("evidence"), "evidence", "Evidence", to.address("/evidence")],
    [offers.exports && viewer.may("export"), "exports", "Exports", to.address("/exports")]
  ]
  return (
    <nav aria-label="Audit">
      <ul>
        {items.map(([shown, its, name, href]) =>
          shown ? <NavItem key={its} href={href} name={name} current={its === place} /> : null
        )}
      </ul>
    </nav>
  )
}

const Viewer = (): VNode => {
  const { viewer } = useSite()
  return (
    <span class="who">
      {viewer.actor === undefined ? (
        "anybody, without signing in"
      ) : (
        <Text text={viewer.actor.label ?? actorText(viewer.actor)} limit={60} />
      )}
      {viewer.scope === undefined && viewer.scopeName === undefined ? null : (
        <>
          {" · scope "}
          <b>
            <Text text={viewer.scopeName ?? "restricted"} limit={60} />
          </b>
        </>
      )}
    </span>
  )
}

const themes = [
  ["auto", "As the system"],
  ["light", "Light"],
  ["dark", "Dark"]
] as const

/** Chooses the colours of the pages. */
const Themes = (): VNode => {
  const { theme = "auto" } = useSite()
  return (
    <ActionForm act="theme">
      <span>Colours</span>
      {themes.map(([value, name]) => (
        <button key={value} class="bare" name="theme" value={value} aria-pressed={value === theme}>
          {name}
        </button>
      ))}
    </ActionForm>
  )
}

/** Chooses the time zone. Keeps the other parameters of the address. */
const ZoneForm = (): VNode => {
  const { here, zone } = useSite()
  const url = new URL(here, "http://own.invalid")
  const otherParameters = [...url.searchParams].filter(([name]) => name !== "tz")
  return (
    <form method="get" action={url.pathname}>
      {otherParameters.map(([name, value]) => (
        <input key={`${name} ${value}`} type="hidden" name={name} value={value} />
      ))}
      <label for="tz">
        <span class="hide">Time zone</span>
      </label>
      <input id="tz" name="tz" value={zone} list="zones" autocomplete="off" spellcheck={false} data-zone="" />
      <datalist id="zones">
        {["UTC", "Europe/London", "Europe/Berlin", "America/New_York", "America/Los_Angeles", "Asia/Tokyo"].map(
          (name) => (
            <option key={name} value={name} />
          )
        )}
      </datalist>
      <button class="bare">Set zone</button>
    </form>
  )
}

const isSeveral = (command: Question | ReadonlyArray<Question>): command is ReadonlyArray<Question> =>
  Array.isArray(command)

export const Frame = ({
  searchText = "",
  children,
  command,
  place
}: {
  readonly place: Place
  readonly children: ComponentChildren
  /** The command or commands that give the same answer. */
  readonly command?: Question | ReadonlyArray<Question> | undefined
  /** The text in the search box. */
  readonly searchText?: string
}): VNode => {
  const { to, viewer, zone } = useSite()
  // A viewer who is not let in learns nothing about the pages, not even their addresses.
  if (!viewer.may("read")) {
    return (
      <>
        <header class="bar">
          <span class="mark">
            thread<i>line</i>
          </span>
        </header>
        <main id="main">{children}</main>
      </>
    )
  }
  return (
    <>
      <a class="skip" href="#main">
        Skip to content
      </a>
      <header class="bar">
        <a class="mark" href={to.home()} {...(place === "home" ? { "aria-current": "page" as const } : {})}>
          thread<i>line</i>
        </a>
        <Navigation place={place} />
        {place === "home" ? (
          <span class="end" />
        ) : (
          <form class="find" role="search" method="get" action={`${new URL(to.home(), "http://own.invalid").pathname}`}>
            {zone === "UTC" ? null : <input type="hidden" name="tz" value={zone} />}
            <label for="q">
              <span class="hide">Search</span>
            </label>
            <input
              id="q"
              name="q"
              type="search"
              value={searchText}
              placeholder="invoices 2041 · user:42 · 88214"
              autocomplete="off"
              spellcheck={false}
              maxlength={1000}
            />
          </form>
        )}
        <Viewer />
      </header>
      <main id="main" tabindex={-1}>
        {children}
        {command === undefined ? null : (
          <div class="commands">
            {(isSeveral(command) ? command : [command]).map((question) => (
              <Command key={commandOf(question)} question={question} />
            ))}
          </div>
        )}
      </main>
      <footer class="foot">
        <span>Times in</span>
        <ZoneForm />
        <Themes />
        <button type="button" class="bare" data-keys="" hidden>
          Shortcuts
        </button>
        <span class="end">Threadline</span>
      </footer>
    </>
  )
}
