/** The search box of the start page. */
import type { VNode } from "preact"
import { useSite } from "../site.js"

export const css = `
.ask{display:grid;grid-template-columns:1fr auto;gap:var(--s2);max-width:780px;margin:var(--s4) 0 var(--s2)}.ask input,.ask button{height:46px}.ask input{font-size:17px;padding:10px 14px;border-radius:10px;background:var(--raise)}.ask button{padding:0 20px;border-radius:10px;font-size:15px}
.hint{color:var(--ink3);font-size:var(--small);margin:0 0 var(--s5);max-width:90ch}.hint code{background:var(--line2);padding:1px 5px;border-radius:4px}
`

export const Search = ({ searchText }: { readonly searchText: string }): VNode => {
  const { to, zone } = useSite()
  return (
    <form class="ask" role="search" method="get" action={new URL(to.home(), "http://own.invalid").pathname}>
      {zone === "UTC" ? null : <input type="hidden" name="tz" value={zone} />}
      <label class="hide" for="q">
        Search
      </label>
      <input
        id="q"
        name="q"
        type="search"
        value={searchText}
        autocomplete="off"
        spellcheck={false}
        maxlength={1000}
        autofocus
      />
      <button class="go">Look up</button>
    </form>
  )
}

export const Hint = (): VNode => (
  <p class="hint">
    A row <code>invoices 2041</code>, an actor <code>user:42</code>, a transaction <code>88214</code>, a correlation or
    request <code>req-9f2c</code>, a label <code>rosa@acme.test</code>, a date <code>2026-11-21</code>, or qualifiers{" "}
    <code>table:invoices op:delete after:2026-11-01</code>
  </p>
)
