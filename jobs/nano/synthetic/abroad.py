"""The words that invoices of other countries have for those of an English one; questions stay English."""

from __future__ import annotations

import random

TITLES = "invoice"
LABELS: dict[str, dict[str, str]] = {
    "German": {
        TITLES: "Rechnung,RECHNUNG", "number": "Rechnungsnummer,Rechnungs-Nr.,Rechnung Nr.,Belegnummer",
        "date": "Datum,Rechnungsdatum", "due": "Zahlbar bis,Fälligkeitsdatum,Fällig am",
        "order": "Bestellnummer,Bestell-Nr.", "customer": "Rechnungsadresse,Kunde,An",
        "subtotal": "Zwischensumme,Netto,Summe netto", "tax": "MwSt.,zzgl. 19% MwSt.,USt.",
        "total": "Gesamtbetrag,Rechnungsbetrag,Summe,Gesamt,Total,Bruttobetrag",
        "name": "Bezeichnung,Artikel,Beschreibung", "quantity": "Menge,Anzahl", "price": "Einzelpreis,Preis",
        "amount": "Betrag,Gesamt,Summe", "": "Kundennummer,Kunden-Nr.,Lieferdatum",
    },
    "French": {
        TITLES: "FACTURE,Facture", "number": "Facture n°,N° de facture,Numéro de facture,Facture No",
        "date": "Date,Date de facture,Date de facturation", "due": "Date d'échéance,À payer avant le",
        "order": "N° de commande,Commande", "customer": "Facturé à,Client,Adresse de facturation",
        "subtotal": "Total HT,Sous-total,Montant HT", "tax": "TVA 20%,TVA,Montant TVA",
        "total": "Total TTC,Montant TTC,Net à payer,Total à payer,TOTAL",
        "name": "Désignation,Description,Article", "quantity": "Quantité,Qté,Nombre",
        "price": "P.U. HT,Prix unitaire,Prix", "amount": "Montant HT,Montant,Total",
        "": "N° client,Référence,Numéro de dossier",
    },
    "Dutch": {
        TITLES: "FACTUUR,Factuur", "number": "Factuurnummer,Factuurnr.", "date": "Factuurdatum,Datum",
        "due": "Vervaldatum,Te betalen voor", "order": "Ordernummer,Bestelnummer",
        "customer": "Factuuradres,Aan,Klant", "subtotal": "Subtotaal,Exclusief BTW,Totaal excl. BTW",
        "tax": "BTW 21%,BTW", "total": "Totaal,Te betalen,Totaal incl. BTW,Totaalbedrag",
        "name": "Artikel,Omschrijving", "quantity": "Aantal", "price": "Prijs per stuk,Prijs",
        "amount": "Bedrag,Prijs incl. BTW,Totaal", "": "Klantnummer,Orderdatum,Referentie",
    },
    "Spanish": {
        TITLES: "FACTURA,Factura", "number": "Número de factura,Factura Nº,Nº factura",
        "date": "Fecha,Fecha de factura", "due": "Vencimiento,Fecha de vencimiento",
        "order": "Pedido,Nº de pedido", "customer": "Cliente,Facturar a",
        "subtotal": "Base imponible,Subtotal", "tax": "IVA 21%,IVA", "total": "Total,Total factura,A pagar",
        "name": "Descripción,Concepto", "quantity": "Cantidad,Cant.", "price": "Precio,Precio unitario",
        "amount": "Importe,Total", "": "Nº de cliente,Referencia",
    },
    "Italian": {
        TITLES: "FATTURA,Fattura", "number": "Fattura n.,Numero fattura", "date": "Data,Data fattura",
        "due": "Scadenza,Data di scadenza", "order": "Ordine n.", "customer": "Cliente,Spett.le",
        "subtotal": "Imponibile,Totale imponibile", "tax": "IVA 22%,IVA",
        "total": "Totale,Totale fattura,Totale da pagare", "name": "Descrizione,Articolo",
        "quantity": "Quantità,Q.tà", "price": "Prezzo,Prezzo unitario", "amount": "Importe,Importo,Totale",
        "": "Codice cliente,Riferimento",
    },
}  # fmt: skip


def label(language: str, role: str, english: str) -> str:
    """A word of `language` for a role; the English one where it has none, or for no language."""
    known = LABELS.get(language, {}).get(role)
    return random.choice(known.split(",")) if known else english
