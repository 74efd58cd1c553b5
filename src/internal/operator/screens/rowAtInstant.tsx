/** One row as it stood at an instant, with its relations at the same instant. */
import type { VNode } from "preact"
import * as Json from "../../../Json.js"
import * as Query from "../../../Query.js"
import { shortTable } from "../../core/words.js"
import { entriesOf } from "../columnOrder.js"
import { Tag } from "../design/Badge.js"
import { isReadAsTree, JsonView } from "../design/JsonView.js"
import { Panel } from "../design/Panel.js"
import { Text } from "../design/Text.js"
import { Time } from "../design/Time.js"
import { Value } from "../design/Value.js"
import { masked } from "../masks.js"
import { useSite } from "../site.js"
import type { Life } from "./rowLife.js"

const answers: Readonly<Record<Query.AsOf["_tag"], string>> = {
  Present: "",
  Deleted: "The row had been deleted.",
  MovedTo: "The row had moved to another key.",
  NotYetCreated: "The row was not there yet.",
  BeforeCapture: "Nothing is known of the row at that time."
}

/** The row at an instant. Fields that a change at exactly that instant set are marked. */
export const AsOfPanel = ({ life }: { readonly life: Life }): VNode => {
  const { columns, masks, to } = useSite()
  const { answer, at, changes, table } = life
  const masksOfTable = masks.get(table)
  const here = changes.find(({ capturedAt, op }) => capturedAt === at && op === "update")
  const was = new Map(here === undefined ? [] : Query.fieldDiffs(here).map(({ before, field }) => [field, before]))
  const recorded = answer._tag === "Present" ? answer.recordedAs : undefined
  return (
    <Panel title="The row at that instant" aside={<Time at={at} zoned />}>
      {answer._tag !== "Present" ? (
        <p class="dim">
          {answers[answer._tag]}
          {answer._tag === "MovedTo" ? (
            <>
              {" "}
              <a href={to.row(table, answer.key, { at })}>
                <code>
                  <Text text={answer.key} limit={200} />
                </code>
              </a>
            </>
          ) : null}
        </p>
      ) : (
        <>
          {answer.rebuilt === true ? (
            <p>
              <Tag tone="warn">rebuilt</Tag>{" "}
              <span class="sub">
                from what the first change after that instant replaced; nothing in between was missed
              </span>
            </p>
          ) : null}
          {recorded?.table === undefined ? null : (
            <p class="sub">
              The table was <Text text={recorded.table} limit={130} /> then.
            </p>
          )}
          <dl class="diff">
            {entriesOf(answer.row, columns.get(recorded?.table ?? table)).map(([field, value]) => (
              <>
                <dt>
                  <Text text={field} limit={63} />
                </dt>
                <dd>
                  {isReadAsTree(value, masksOfTable?.get(field)) ? (
                    <>
                      {was.has(field) ? <mark>changed</mark> : null}
                      <JsonView value={value} />
                    </>
                  ) : was.has(field) ? (
                    <>
                      <mark>
                        <Value value={value} mask={masksOfTable?.get(field)} />
                      </mark>{" "}
                      {value === masked ? null : (
                        <span class="sub">
                          was <Value value={was.get(field)} limit={60} mask={masksOfTable?.get(field)} />
                        </span>
                      )}
                    </>
                  ) : (
                    <Value value={value} mask={masksOfTable?.get(field)} />
                  )}
                </dd>
              </>
            ))}
          </dl>
        </>
      )}
    </Panel>
  )
}

const briefly = (row: Query.RowImage, columns: ReadonlyArray<string> | undefined): string =>
  entriesOf(row, columns)
    .filter(([, value]) => value !== null && value !== "" && value !== masked)
    .slice(0, 4)
    .map(([field, value]) => `${field} ${typeof value === "string" ? value : Json.stringify(value)}`)
    .join(" · ")

export const Related = ({ life }: { readonly life: Life }): VNode | null => {
  const { columns, to } = useSite()
  const names = Object.entries(life.related)
  return names.length === 0 ? null : (
    <Panel title="With it, at the same instant">
      {names.map(([name, rows]) => (
        <section key={name}>
          <h3 class="sub">
            <Text text={name} limit={80} />
          </h3>
          {rows.items.length === 0 ? (
            <p class="dim">none</p>
          ) : (
            <ul class="list">
              {rows.items.slice(0, 20).map(({ rebuilt, row, rowKey }) => (
                <li key={rowKey}>
                  <a href={to.row(rows.table, rowKey, { at: life.at })}>
                    <Text text={shortTable(rows.table)} />{" "}
                    <code>
                      <Text text={rowKey} limit={60} />
                    </code>
                  </a>
                  <span class="sub">
                    <Text text={briefly(row, columns.get(rows.table))} limit={120} />
                  </span>
                  {rebuilt === true ? <Tag tone="warn">rebuilt</Tag> : null}
                </li>
              ))}
              {rows.items.length > 20 || rows.hasMore ? <li class="sub">and more</li> : null}
            </ul>
          )}
        </section>
      ))}
    </Panel>
  )
}
