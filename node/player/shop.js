// Buying what is not free: what it costs, whether it could be heard now, the owner's yes with the passphrase.

import { api } from "/player/session.js";

const $ = (id) => document.getElementById(id);

function said(text) {
  const line = document.createElement("p");
  line.textContent = text;
  return line;
}

function readiness(assurance) {
  if (!assurance) return "";
  if (assurance.problem) return `Not to be heard now: ${assurance.problem}.`;
  const { ready, of, needed, delegates } = assurance.quorum;
  const more = delegates ? `; ${delegates} of the artist's own nodes answer too` : "";
  return `The sound is to be had; ${ready} of ${of} guardians of its key are ready and ${needed} are needed${more}.`;
}

/** The offer that the node takes when none is named: without end first, then the lowest price of its kind. */
function cheapest(sold) {
  const rank = (each) => [each.period_s === null ? 0 : 1, each.kind === "stream" ? 0 : 1];
  const [best] = [...sold].sort((a, b) => {
    const [x, y] = [rank(a), rank(b)];
    return x[0] - y[0] || x[1] - y[1] || (BigInt(a.units) < BigInt(b.units) ? -1 : 1);
  });
  return best;
}

/** Offers one track at a time; calls back when it was bought. */
export class Shop {
  #onBought;
  #item = null;
  #quote = null;
  #asked = 0;

  constructor(onBought) {
    this.#onBought = onBought;
    $("buy").addEventListener("click", () => this.#ask());
    $("pay").addEventListener("submit", (event) => { event.preventDefault(); this.#pay(); });
    $("no").addEventListener("click", () => this.close());
  }

  close() {
    this.#asked++;
    this.#item = this.#quote = null;
    $("shop").hidden = true;
    $("passphrase").value = "";
  }

  /** Show what a track costs; the sentence is why it does not play. */
  async offer(item, sentence) {
    this.close();
    const mine = this.#asked;
    this.#item = item;
    $("offer").replaceChildren(said(sentence));
    $("buy").hidden = true;
    $("pay").hidden = true;
    $("shop").hidden = false;
    const terms = await api(`/api/v1/market/${encodeURIComponent(item.id)}/terms`).catch(() => null);
    if (mine !== this.#asked || !terms?.registered) return;
    const alone = terms.items.filter((each) => each.sold);
    const whole = (terms.release?.items ?? []).filter((each) => each.sold);
    const line = (each, more = "") => `${each.price} ${each.span} (${each.kind})${more}`;
    $("offer").replaceChildren(
      said(sentence), ...alone.map((each) => said(line(each))),
      ...whole.map((each) => said(line(each, `, with all of “${terms.release.title}”`))),
      ...[readiness(terms.assurance)].filter(Boolean).map(said),
    );
    const sold = alone.length ? alone : whole;
    if (!sold.length) return;
    this.#item = alone.length ? item : { ...item, id: terms.release.id };
    $("buy").textContent = `Buy for ${cheapest(sold).price}`;
    $("buy").hidden = Boolean(terms.assurance?.problem);
  }

  async #ask() {
    const mine = this.#asked;
    $("buy").disabled = true;
    try {
      const quote = await api("/api/v1/market/buy", { method: "POST", body: { target: this.#item.id } });
      if (mine !== this.#asked) return;
      this.#quote = quote;
      $("offer").replaceChildren(
        ...quote.transactions.map((each) => said(each.summary)),
        said(`Total ${quote.spend.join(" + ")}, network fee at most ${quote.fee_max}, paid by ${quote.account}.`),
      );
      $("buy").hidden = true;
      $("pay").hidden = false;
      $("passphrase").focus();
    } catch (err) {
      if (mine === this.#asked) $("offer").replaceChildren(said(err.message));
    } finally {
      $("buy").disabled = false;
    }
  }

  async #pay() {
    const mine = this.#asked;
    const passphrase = $("passphrase").value;
    $("passphrase").value = "";
    $("confirm").disabled = true;
    try {
      const body = { confirm: this.#quote.confirm, passphrase };
      const { items } = await api("/api/v1/market/confirm", { method: "POST", body });
      if (mine !== this.#asked) return;
      if (items.some((each) => each.block === null)) {
        $("offer").replaceChildren(said("It is sent and not in a block yet. Play the track again in a moment."));
        $("pay").hidden = true;
        return;
      }
      this.close();
      this.#onBought();
    } catch (err) {
      if (mine === this.#asked) $("offer").append(said(err.message));
    } finally {
      $("confirm").disabled = false;
    }
  }
}
