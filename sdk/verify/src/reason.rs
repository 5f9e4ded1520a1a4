//! Why a check does not hold, or was not made: numbers that never change meaning, English and Japanese, and what to do.

use serde::{Serialize, Serializer};

/// A reason's row in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReasonText {
    /// Stable code, for instance `VERIFY-0133`.
    pub code: &'static str,
    /// What was found, English.
    pub en: &'static str,
    /// What was found, Japanese.
    pub ja: &'static str,
    /// What to do next, English.
    pub hint_en: &'static str,
    /// What to do next, Japanese.
    pub hint_ja: &'static str,
}

macro_rules! reasons {
    ($($name:ident = $code:literal $en:literal, $ja:literal, $hint_en:literal, $hint_ja:literal;)*) => {
        /// A numbered reason.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Reason {
            $(#[doc = concat!($code, ": ", $en)] $name,)*
        }

        impl Reason {
            /// All reasons, in the order of the table.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The reason's row.
            #[must_use]
            pub const fn text(self) -> ReasonText {
                match self {
                    $(Self::$name => ReasonText {
                        code: $code, en: $en, ja: $ja, hint_en: $hint_en, hint_ja: $hint_ja,
                    },)*
                }
            }
        }
    };
}

reasons! {
    // VERIFY-010x: can it be read
    CertificateForm = "VERIFY-0101" "the certificate cannot be read", "証明書を読めません", "give one X.509 certificate, PEM or DER", "X.509 証明書 (PEM か DER) を指定してください";
    ProofForm = "VERIFY-0102" "the proof file cannot be read", "証明ファイルを読めません", "give the device's tlog-proof file as it was delivered", "納品された tlog-proof ファイルをそのまま指定してください";
    HistoryForm = "VERIFY-0103" "the proof file does not carry the device's history", "証明ファイルに機器の履歴がありません", "ask the maker for a complete proof file", "完全な証明ファイルを製造者に求めてください";
    Needs = "VERIFY-0109" "not checked, because an earlier check failed", "前の確認が不成立のため未確認です", "see the first check that failed", "最初に失敗した確認を見てください";
    // VERIFY-011x: chain
    RootRole = "VERIFY-0111" "the root in the trust directory is no root of devices", "信頼ディレクトリのルートが機器ルートの形ではありません", "get root.pem from the maker again", "root.pem を製造者から取り直してください";
    IssuerUnknown = "VERIFY-0112" "no issuing CA of the trust directory issued this certificate", "信頼ディレクトリの発行 CA による証明書ではありません", "check that the trust directory is this maker's", "この製造者の信頼ディレクトリか確認してください";
    IssuerRole = "VERIFY-0113" "the issuing CA may not issue device certificates", "発行 CA に機器証明書を発行する資格がありません", "get issuing.pem from the maker again", "issuing.pem を製造者から取り直してください";
    IssuerNotUnderRoot = "VERIFY-0114" "the issuing CA is not under the root", "発行 CA がルートの下にありません", "check that root and issuing CA belong together", "ルートと発行 CA の組を確認してください";
    CertificateSignature = "VERIFY-0115" "the certificate is not signed by the issuing CA", "証明書の署名が発行 CA のものではありません", "do not accept the device", "この機器を受け入れないでください";
    NotValidNow = "VERIFY-0116" "not valid at the time asked for", "指定時刻では有効期間外です", "check the clock, or give --at", "時計を確認するか --at を指定してください";
    // VERIFY-012x: profile
    NotIdevid = "VERIFY-0121" "not the form of an IDevID certificate", "IDevID 証明書の形式ではありません", "check that this is the device's IDevID", "機器の IDevID か確認してください";
    ProductProfile = "VERIFY-0122" "not what the product's profile says", "製品プロファイルと一致しません", "check that the profile is this product's; else do not accept the device", "製品のプロファイルか確認し、違わなければ受け入れないでください";
    // VERIFY-013x: leaf
    HistoryBroken = "VERIFY-0131" "the entries of the history are not linked", "履歴の記録がつながっていません", "ask the maker for the device's proof file", "機器の証明ファイルを製造者に求めてください";
    OtherSerial = "VERIFY-0132" "the log permitted another certificate serial", "ログの証明書番号と一致しません", "check that proof and certificate are of one device", "証明と証明書が同じ機器のものか確認してください";
    OtherTbs = "VERIFY-0133" "the log permitted another certificate", "ログが許可した証明書ではありません", "do not accept the device", "この機器を受け入れないでください";
    OtherKey = "VERIFY-0134" "the log permitted another key", "ログの鍵と一致しません", "do not accept the device", "この機器を受け入れないでください";
    OtherIssuer = "VERIFY-0135" "the log permitted another issuing CA", "ログの発行 CA と一致しません", "do not accept the device", "この機器を受け入れないでください";
    OtherSubject = "VERIFY-0136" "the entry is of another fixed key", "別の固定鍵の記録です", "check that proof and certificate are of one device", "証明と証明書が同じ機器のものか確認してください";
    OtherReadback = "VERIFY-0137" "another certificate was read back from the chip", "チップから読み戻された証明書と一致しません", "do not accept the device", "この機器を受け入れないでください";
    Voided = "VERIFY-0138" "the device was voided or scrapped", "機器は無効または廃棄されています", "do not accept the device; tell the maker", "受け入れず、製造者に知らせてください";
    ImpossibleHistory = "VERIFY-0139" "an entry follows that the log's rules do not allow", "ログの規則に反する記録です", "report it to the maker and to its auditor", "製造者と監査人に報告してください";
    // VERIFY-014x: proof
    CheckpointNotTrusted = "VERIFY-0141" "the checkpoint is not signed as the trust directory asks", "チェックポイントの署名が信頼条件を満たしません", "check that the proof is from this maker's log", "この製造者のログの証明か確認してください";
    NotInLog = "VERIFY-0142" "the entry is not in the log", "記録がログに含まれていません", "do not accept the device", "この機器を受け入れないでください";
    // VERIFY-015x: openings
    OpeningsForm = "VERIFY-0151" "the openings cannot be read", "開示項目を読めません", "ask the maker for the device's proof file", "機器の証明ファイルを製造者に求めてください";
    OtherOpenings = "VERIFY-0152" "the openings are not those of the entry", "開示項目がこの記録のものではありません", "ask the maker for the device's proof file", "機器の証明ファイルを製造者に求めてください";
    OpenSerialDiffers = "VERIFY-0153" "the opened device serial is not the certificate's", "開示された製造番号が証明書と違います", "do not accept the device", "この機器を受け入れないでください";
    OpenUidDiffers = "VERIFY-0154" "the opened chip UID is not the certificate's", "開示されたチップ UID が証明書と違います", "do not accept the device", "この機器を受け入れないでください";
    // VERIFY-016x: evidence
    OtherEvidence = "VERIFY-0161" "the evidence is not the one the log recorded", "ログに記録された証拠ではありません", "ask the maker for the device's proof file", "機器の証明ファイルを製造者に求めてください";
    EvidenceForm = "VERIFY-0162" "the evidence cannot be read", "証拠を読めません", "ask the maker for the device's proof file", "機器の証明ファイルを製造者に求めてください";
    EvidenceFails = "VERIFY-0163" "the evidence of the key's origin does not hold", "鍵の由来の証拠が成立しません", "check the vendor keys; else do not accept the device", "ベンダ鍵を確認し、正しければ受け入れないでください";
    OtherGrade = "VERIFY-0164" "the evidence earns another grade than the log recorded", "証拠の等級がログと違います", "report it to the maker and to its auditor", "製造者と監査人に報告してください";
    GradeTooLow = "VERIFY-0165" "the grade is below what the product's profile demands", "等級が製品プロファイルの要求を下回ります", "do not accept the device", "この機器を受け入れないでください";
    EvidenceAbsent = "VERIFY-0166" "the evidence is not in the proof file", "証拠が証明ファイルにありません", "ask the maker for the evidence to judge it yourself", "自ら判定するには証拠を製造者に求めてください";
    NoVendors = "VERIFY-0167" "the trust directory holds no chip vendor's key", "信頼ディレクトリにチップベンダの鍵がありません", "put the vendor's public key into vendors/", "vendors/ にベンダの公開鍵を置いてください";
    PartUnknown = "VERIFY-0168" "the chip's part number is withheld, and no profile names it", "チップ品番が非開示で、プロファイルにもありません", "put the product's profile into profiles/", "profiles/ に製品プロファイルを置いてください";
    StationAsserted = "VERIFY-0169" "that the key was injected from an HSM is the station's word, as the log recorded it", "HSM からの注入はステーションの申告で、ログの記録のままです", "nothing to do; accept it or not as your policy says", "方針に従って可否を判断してください";
    // VERIFY-02xx: findings of an audit
    AuditCheckpoint = "VERIFY-0201" "the checkpoint is not signed as the trust directory asks", "チェックポイントの署名が信頼条件を満たしません", "check that log and trust directory are of one maker; where none of its keys signed, nothing was held against its CAs and approvers", "ログと信頼ディレクトリが同じ製造者のものか確認してください。信頼する鍵の署名が一つもなければ、発行 CA と承認者は照合していません";
    AuditEntries = "VERIFY-0202" "entries cannot be read, so that nothing after them is known", "記録が読めず、以降が不明です", "fetch the log again; else report it", "ログを取り直し、だめなら報告してください";
    AuditLeaf = "VERIFY-0203" "an entry is no leaf of the register", "台帳の記録ではありません", "report it to the maker", "製造者に報告してください";
    AuditRule = "VERIFY-0204" "an entry breaks a rule of the log", "ログの規則に反する記録です", "report it; no certificate of this entry is to be accepted", "報告し、この記録の証明書を受け入れないでください";
    AuditTile = "VERIFY-0205" "a tile is not that of the entries", "タイルが記録と一致しません", "fetch the log again; else report it", "ログを取り直し、だめなら報告してください";
    AuditRoot = "VERIFY-0206" "the entries do not give the root that was signed", "記録から署名済みのルートになりません", "report it: the log signed another tree", "報告してください。ログは別の木に署名しています";
    AuditSerial = "VERIFY-0207" "a certificate serial was used before", "証明書番号が重複しています", "report it to the maker", "製造者に報告してください";
    AuditIssuer = "VERIFY-0208" "a certificate was permitted for a CA that the trust directory does not hold", "信頼ディレクトリにない CA の証明書です", "check that all issuing CAs are in the trust directory", "発行 CA が揃っているか確認してください";
    AuditLot = "VERIFY-0209" "a lot closed with a difference", "ロットの数が合わないまま締め切られています", "find every unit that is named as a difference before anything of the lot is accepted", "差異のある機器をすべて確認するまでこのロットを受け入れないでください";
    AuditDocument = "VERIFY-0210" "the document behind an entry is missing, or is another", "記録が指す文書がないか、別の文書です", "fetch the log with its documents/ again; else report it: what nobody can read, nobody can have approved", "documents/ を含めてログを取り直し、だめなら報告してください";
    AuditApproval = "VERIFY-0211" "a document is not approved", "文書に必要な承認がありません", "report it; accept nothing that was issued under it", "報告し、この文書による発行を受け入れないでください";
    AuditTerms = "VERIFY-0212" "an entry says otherwise than its document", "記録が文書と一致しません", "report it; accept nothing that was issued under it", "報告し、この文書による発行を受け入れないでください";
    AuditCeremony = "VERIFY-0213" "the log holds another ceremony than is trusted", "信頼するものとは別の鍵セレモニーがログにあります", "compare ceremony.der and log.vkey with the minutes of the ceremony", "ceremony.der と log.vkey をセレモニーの記録と照合してください";
}

impl Reason {
    /// Stable code, for instance `VERIFY-0133`.
    #[must_use]
    pub const fn code(self) -> &'static str {
        self.text().code
    }
}

impl Serialize for Reason {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn codes_are_unique_rising_and_well_formed() {
        let codes: Vec<_> = Reason::ALL.iter().map(|reason| reason.code()).collect();
        assert_eq!(codes.iter().collect::<BTreeSet<_>>().len(), codes.len());
        assert!(codes.is_sorted());
        for code in codes {
            let digits = code.strip_prefix("VERIFY-").unwrap();
            assert!(
                digits.len() == 4 && digits.bytes().all(|byte| byte.is_ascii_digit()),
                "{code}"
            );
        }
    }

    #[test]
    fn every_reason_speaks_both_languages() {
        for reason in Reason::ALL {
            let text = reason.text();
            assert!(!text.en.is_empty() && !text.hint_en.is_empty());
            assert!(
                !text.ja.is_ascii() && !text.hint_ja.is_ascii(),
                "{}",
                text.code
            );
        }
    }
}
