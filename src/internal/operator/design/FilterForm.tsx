/** The filter of a list as a form, and as chips that can be removed one by one. */
import type { ComponentChildren, VNode } from "preact"
import * as Json from "../../../Json.js"
import type * as Query from "../../../Query.js"
import { type Chip, chipsOf, type Listing, localText } from "../filterForm.js"
import { useSite } from "../site.js"
import { durationName, show } from "../zone.js"
import { Text } from "./Text.js"

export const css = `
form.filter{background:var(--raise);border:1px solid var(--line);border-radius:var(--r);padding:var(--s3)}
.fields{display:flex;flex-wrap:wrap;gap:var(--s2);align-items:end}.fields label{flex:1 1 108px;max-width:240px}.fields label.when{flex-basis:176px}.fields label.span{flex-basis:140px}.fields .go{flex:0 0 84px}
form.filter details{margin-top:var(--s2)}form.filter details>.fields{margin-top:var(--s2)}form.filter summary{font-size:var(--small);width:max-content}
.chips{display:flex;flex-wrap:wrap;gap:6px var(--s2);margin:var(--s3) 0;align-items:center}
.chip{display:inline-flex;gap:6px;align-items:center;min-height:26px;padding:0 4px 0 10px;border-radius:99px;background:var(--wash);color:var(--accent);font-size:13px;max-width:100%;overflow-wrap:anywhere}
.chip a{min-width:24px;min-height:24px;line-height:24px;text-align:center;text-decoration:none;border-radius:99px}.chip a:hover{background:var(--raise)}.chips .end{display:flex;flex-wrap:wrap;gap:0 var(--s3);font-size:13px;color:var(--ink2)}
.narrow{display:none}
@media(max-width:760px){.chips{margin:var(--s2) 0}.chips .end{margin-left:0;width:100%}.narrow{display:block;margin-bottom:var(--s2)}.narrow summary{width:max-content;padding:3px 10px;border:1px solid var(--field);border-radius:6px;color:var(--ink)}.narrow:not([open])+form.filter{display:none}}
`

const operations = ["insert", "update", "delete", "truncate", "baseline"] as const

const actorText = (actor: Query.ActorInput | undefined): string =>
  actor === undefined ? "" : actor.id === undefined ? actor.type : `${actor.type}:${actor.id}`

const Field = ({
  label,
  list,
  name,
  placeholder = "any",
  type = "text",
  value
}: {
  readonly label: string
  readonly name: string
  readonly value: string
  readonly placeholder?: string
  readonly type?: string
  readonly list?: string
}): VNode => (
  <label {...(type === "text" ? {} : { class: "when" })}>
    {label}
    <input
      name={name}
      value={value}
      {...(type === "text" ? { placeholder, autocomplete: "off", spellcheck: false } : { type, step: 1 })}
      {...(list === undefined ? {} : { list })}
    />
  </label>
)

const windows = ["1h", "24h", "7d", "30d", "90d"] as const

/** Keeps the parts of the filter that the form has no field for. */
const Hidden = ({ listing }: { readonly listing: Listing }): VNode => {
  const { zone } = useSite()
  const { filter } = listing
  const hiddenFields: ReadonlyArray<readonly [string, string]> = [
    ...(zone === "UTC" ? [] : [["tz", zone] as const]),
    ...(filter.table ?? []).slice(1).map((table) => ["table", table] as const),
    ...(filter.op ?? []).slice(1).map((op) => ["op", op] as const),
    ...(filter.action ?? []).slice(1).map((action) => ["action", action] as const),
    ...(filter.changedField ?? []).slice(1).map((field) => ["changedField", field] as const)
  ]
  return (
    <>
      {hiddenFields.map(([name, value]) => (
        <input key={`${name} ${value}`} type="hidden" name={name} value={value} />
      ))}
    </>
  )
}

type Filter = Listing["filter"]

/** The fields that further filters are in. */
const furtherFields = [
  "correlationId",
  "requestId",
  "jobId",
  "traceId",
  "impersonator",
  "actorLabel",
  "changedField",
  "source",
  "dbUser",
  "contains",
  "meta",
  "schema",
  "unattributed",
  "actionStatus"
] as const satisfies ReadonlyArray<keyof Filter>

/** From when to when: a window that ends now, or two instants. */
const TimeFields = ({ listing: { filter, since } }: { readonly listing: Listing }): VNode => {
  const { zone } = useSite()
  const local = (instant: string | undefined): string => {
    if (instant === undefined) {
      return ""
    }
    const { fraction, iso, time } = show(instant, zone)
    return localText(iso, time, fraction)
  }
  return (
    <>
      <label class="span">
        Time
        <select name="since">
          <option value="" selected={since === undefined}>
            from and to
          </option>
          {windows.map((window) => (
            <option key={window} value={window} selected={since === window}>
              {durationName(window)}
            </option>
          ))}
          <option value="all" selected={since === "all"}>
            all time
          </option>
        </select>
      </label>
      <Field
        label={`From (${zone})`}
        name="from"
        type="datetime-local"
        value={since === undefined ? local(filter.from) : ""}
      />
      <Field label={`To (${zone})`} name="to" type="datetime-local" value={local(filter.to)} />
    </>
  )
}

/** Which rows changed, and how. A list of actions has no such filters. */
const RowFields = ({ filter }: { readonly filter: Filter }): VNode => {
  const key = filter.key === undefined ? "" : typeof filter.key === "string" ? filter.key : Json.stringify(filter.key)
  return (
    <>
      <Field label="Table" name="table" value={filter.table?.[0] ?? ""} list="tables" />
      <Field label="Row key" name="key" value={key} />
      <label>
        Operation
        <select name="op">
          <option value="any">any</option>
          {operations.map((op) => (
            <option key={op} value={op} selected={filter.op?.[0] === op}>
              {op}
            </option>
          ))}
        </select>
      </label>
    </>
  )
}

/** In which circumstances something happened. */
const CircumstanceFields = ({ filter }: { readonly filter: Filter }): VNode => (
  <>
    <Field label="Correlation" name="correlationId" value={filter.correlationId ?? ""} />
    <Field label="Request" name="requestId" value={filter.requestId ?? ""} />
    <Field label="Job" name="jobId" value={filter.jobId ?? ""} />
    <Field label="Trace" name="traceId" value={filter.traceId ?? ""} />
    <Field label="Impersonator" name="impersonator" value={actorText(filter.impersonator)} placeholder="admin:7" />
    <Field label="Label of the actor" name="actorLabel" value={filter.actorLabel ?? ""} />
    <label>
      Outcome
      <select name="actionStatus">
        <option value="">any</option>
        <option value="ok" selected={filter.actionStatus === "ok"}>
          succeeded
        </option>
        <option value="error" selected={filter.actionStatus === "error"}>
          failed
        </option>
      </select>
    </label>
    <label>
      Attribution
      <select name="unattributed">
        <option value="">any</option>
        <option value="true" selected={filter.unattributed === true}>
          no actor
        </option>
      </select>
    </label>
  </>
)

/** What changed in rows, and from where they were written. */
const FurtherRowFields = ({ filter }: { readonly filter: Filter }): VNode => (
  <>
    <Field label="Changed column" name="changedField" value={filter.changedField?.[0] ?? ""} />
    <Field label="Schema" name="schema" value={filter.schema ?? ""} />
    <Field label="Source" name="source" value={filter.source ?? ""} />
    <Field label="Database user" name="dbUser" value={filter.dbUser ?? ""} />
    <Field
      label="Row contains (JSON)"
      name="contains"
      value={filter.contains === undefined ? "" : Json.stringify(filter.contains)}
      placeholder='{"state":"open"}'
    />
    <Field
      label="Meta contains (JSON)"
      name="meta"
      value={filter.meta === undefined ? "" : Json.stringify(filter.meta)}
      placeholder='{"plan":"gold"}'
    />
  </>
)

export const FilterForm = ({
  action,
  actionsOnly = false,
  listing,
  tables
}: {
  readonly action: string
  readonly listing: Listing
  /** True for a list of actions, which has no filters of rows. */
  readonly actionsOnly?: boolean
  readonly tables: ReadonlyArray<string>
}): VNode => {
  const { filter } = listing
  const hasFurther = furtherFields.some((field) => filter[field] !== undefined)
  return (
    <>
      {/* On a narrow screen the form would cover the results, so it is folded. It opens without a script too. */}
      <details class="narrow">
        <summary>Filter</summary>
      </details>
      <form class="filter" method="get" action={action} aria-label="Filter">
        <Hidden listing={listing} />
        <div class="fields">
          <TimeFields listing={listing} />
          {actionsOnly ? null : <RowFields filter={filter} />}
          <Field label="Actor" name="actor" value={actorText(filter.actor)} placeholder="user:42" />
          <Field label="Action" name="action" value={filter.action?.[0] ?? ""} />
          <button class="go">Show</button>
        </div>
        <details open={hasFurther}>
          <summary>More filters</summary>
          <div class="fields">
            <CircumstanceFields filter={filter} />
            {actionsOnly ? null : <FurtherRowFields filter={filter} />}
          </div>
        </details>
        {tables.length === 0 ? null : (
          <datalist id="tables">
            {tables.map((table) => (
              <option key={table} value={table} />
            ))}
          </datalist>
        )}
      </form>
    </>
  )
}

const ChipView = ({
  href,
  name,
  text
}: {
  readonly name: string
  readonly text: string
  readonly href: string
}): VNode => (
  <li class="chip">
    <span>
      {name}
      {text === "" ? null : (
        <>
          {" "}
          <b>
            <Text text={text} limit={120} />
          </b>
        </>
      )}
    </span>
    <a href={href} aria-label={`Remove ${name}`}>
      ×
    </a>
  </li>
)

export const Chips = ({
  children,
  link,
  listing
}: {
  readonly listing: Listing
  readonly link: (filter: Query.FilterInput, since: string | undefined) => string
  readonly children?: ComponentChildren
}): VNode => {
  const { zone } = useSite()
  const { filter, since } = listing
  const chipText = ({ name, text }: Chip): string => {
    if (name !== "since" && name !== "until") {
      return text
    }
    const { date, fraction, time } = show(text, zone)
    return `${date} ${time}${fraction}`
  }
  return (
    <ul class="chips" aria-label="Active filters">
      {since === undefined || since === "all" ? null : (
        <ChipView
          name={durationName(since)}
          text=""
          href={link({ ...filter, from: undefined, cursor: undefined }, "all")}
        />
      )}
      {chipsOf(listing).map((chip) => (
        <ChipView key={chip.name} name={chip.name} text={chipText(chip)} href={link(chip.without, since ?? "all")} />
      ))}
      {children === undefined ? null : <li class="end">{children}</li>}
    </ul>
  )
}
