//! Every fault has a number that never changes meaning, says who is at fault, and tells what to do next, in English
//! and Japanese. `docs/faults.md` is made from this table.

use core::fmt;

/// Who is at fault: what a person at the station looks at first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Blame {
    /// The unit or its chip: put the unit aside.
    Unit,
    /// The station: its keys, clock, programmer or settings.
    Station,
    /// A limit set by people: grant, lot, product.
    Policy,
    /// The CA or its HSM, disk or log.
    Ca,
    /// Somebody who is not who they say.
    Peer,
}

impl Blame {
    /// Stable lower-case name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unit => "unit",
            Self::Station => "station",
            Self::Policy => "policy",
            Self::Ca => "ca",
            Self::Peer => "peer",
        }
    }
}

/// A fault's row in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FaultText {
    /// Stable code, for instance `CA-0103`.
    pub code: &'static str,
    /// Who is at fault.
    pub blame: Blame,
    /// What happened, English.
    pub en: &'static str,
    /// What happened, Japanese.
    pub ja: &'static str,
    /// What to do next, English.
    pub hint_en: &'static str,
    /// What to do next, Japanese.
    pub hint_ja: &'static str,
}

macro_rules! faults {
    ($($name:ident = $code:literal $blame:ident, $en:literal, $ja:literal, $hint_en:literal, $hint_ja:literal;)*) => {
        /// A numbered fault.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Fault {
            $(#[doc = concat!($code, ": ", $en)] $name,)*
        }

        impl Fault {
            /// All faults, in the order of the table.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The fault's row.
            #[must_use]
            pub const fn text(self) -> FaultText {
                match self {
                    $(Self::$name => FaultText {
                        code: $code, blame: Blame::$blame, en: $en, ja: $ja, hint_en: $hint_en, hint_ja: $hint_ja,
                    },)*
                }
            }
        }
    };
}

faults! {
    // CA-01xx: door 1, who asks and in what form
    EnvelopeMalformed = "CA-0101" Station, "the request is not a well-formed envelope", "要求の形式が正しくありません", "update the line agent; keep the record file for support", "ライン端末のソフトを更新し、記録を保存してください";
    EnvelopeSignature = "CA-0102" Peer, "the request is not signed by this station's key", "要求の署名がこのステーションのものではありません", "check which station the HSM token belongs to", "HSM のステーション鍵を確認してください";
    StationUnknown = "CA-0103" Station, "the station is not enrolled", "ステーションが登録されていません", "have the station enrolled and approved", "ステーションの登録と承認を依頼してください";
    StationExpired = "CA-0104" Station, "the station's enrolment is not valid now", "ステーションの登録期限外です", "have the station enrolled anew", "ステーションの再登録を依頼してください";
    StationMismatch = "CA-0105" Peer, "the TLS identity and the envelope name different stations", "TLS の身元と要求のステーション名が違います", "check the station's certificate and settings", "証明書と設定を確認してください";
    StationClock = "CA-0106" Station, "the station's clock is more than 24 h off", "ステーションの時計が 24 時間以上ずれています", "set the clock of the station", "時計を合わせてください";
    TooLarge = "CA-0107" Station, "the message is larger than allowed", "メッセージが大きすぎます", "send fewer units at once", "一度に送る台数を減らしてください";
    Overloaded = "CA-0108" Ca, "the CA has more work than it can queue", "CA が混雑しています", "wait the time given, then send the same request again", "指定時間待って同じ要求を再送してください";
    NotAuthorized = "CA-0109" Peer, "this role may not call this service", "この役割では呼び出せません", "ask the CA operator for the role", "CA 運用者に権限を確認してください";
    NotApproved = "CA-0110" Policy, "the approvals do not suffice", "承認が足りないか、有効ではありません", "have approvers sign exactly this document, with the keys that its station or vendors have now", "この文書そのものに承認者の署名を得てください";
    AgentNotApproved = "CA-0111" Station, "the line agent is not one that is approved for this station", "このライン端末のソフトはステーションで承認されていません", "install the approved line agent, or have a statement approved that names this one", "承認済みのソフトを入れるか、このソフトを含むステーション登録の承認を依頼してください";
    // CA-02xx: door 1, limits
    GrantUnknown = "CA-0201" Policy, "the grant is unknown or not this station's", "許可がないか、このステーションのものではありません", "check the grant's name and that it is loaded", "許可の名前と登録を確認してください";
    GrantExpired = "CA-0202" Policy, "the grant is not valid now", "許可の有効期間外です", "ask for a new grant", "新しい許可を申請してください";
    GrantUsedUp = "CA-0203" Policy, "the grant is used up", "許可数を使い切りました", "stop; ask for a new grant", "停止し、新しい許可を申請してください";
    WrongLine = "CA-0204" Policy, "the station's line or site is not in the grant", "ラインまたは工場が許可にありません", "use the line that the grant names", "許可されたラインを使ってください";
    LotUnknown = "CA-0205" Policy, "the lot is not open under this grant", "ロットが開かれていません", "have the lot opened", "ロットを開いてください";
    LotFull = "CA-0206" Policy, "the lot is full", "ロットが満数です", "stop; reconcile the lot", "停止し、ロットを照合してください";
    SerialOutsideLot = "CA-0207" Unit, "the serial is not in the lot's range", "製造番号がロットの範囲外です", "check the label", "ラベルを確認してください";
    SerialMalformed = "CA-0208" Unit, "the serial does not have the product's form", "製造番号の形式が違います", "check the label and the lot file", "ラベルとロットファイルを確認してください";
    WrongPart = "CA-0209" Unit, "the chip's part number is not the product's", "チップの品番が製品と違います", "take the unit out; check the reel", "取り外し、リールを確認してください";
    UidMalformed = "CA-0210" Unit, "the chip's UID does not have the product's form", "チップ UID の形式が違います", "take the unit out; check the reel", "取り外し、リールを確認してください";
    GradeTooLow = "CA-0211" Policy, "the evidence is weaker than the product demands", "証拠の等級が足りません", "use the key origin that the product demands", "製品の求める方式を使ってください";
    LotClosed = "CA-0212" Policy, "the lot is closed", "ロットは締め切られています", "use a lot that is open", "開いているロットを使ってください";
    ScrapUsedUp = "CA-0213" Policy, "the grant's scrap allowance is used up", "許可の廃棄枠を使い切りました", "stop; find out why so much is scrapped", "停止し、廃棄が多い原因を調べてください";
    LotDiffers = "CA-0214" Policy, "the lot's counts differ from the log", "ロットの数がログと一致しません", "find every unit that is named as a difference before anything ships", "差異のある機器をすべて確認するまで出荷しないでください";
    GrantClosed = "CA-0215" Policy, "the grant is closed", "許可は打ち切られています", "stop; ask the CA operator why, and for a new grant", "停止し、CA 運用者に理由を確認し、新しい許可を申請してください";
    LotMoved = "CA-0216" Station, "the lot is not what the station saw any more, and stays open", "ロットが確認時から変わったため、まだ締め切っていません", "close it again: the command shows what differs now", "もう一度締め切ってください。現在の差異が表示されます";
    // CA-03xx: door 1, proofs
    ChallengeInvalid = "CA-0301" Station, "the challenge is not one of this CA for this chip and station", "チャレンジが無効です", "ask for a challenge and prove again", "チャレンジを取り直してください";
    ChallengeStale = "CA-0302" Station, "the challenge has expired", "チャレンジの期限切れです", "ask for a challenge and prove again", "チャレンジを取り直してください";
    KeyMalformed = "CA-0303" Unit, "the key is not a point of P-256", "鍵が P-256 の点ではありません", "take the unit out", "取り外してください";
    PossessionInvalid = "CA-0304" Unit, "the chip did not prove that it holds the key", "鍵所持の証明が正しくありません", "take the unit out; try the socket with a good unit", "取り外し、良品でソケットを確認してください";
    EvidenceInvalid = "CA-0305" Unit, "the evidence of the key's origin does not hold", "鍵の由来の証拠が正しくありません", "take the unit out; check chip vendor and HSM", "取り外し、チップと HSM を確認してください";
    // CA-04xx: door 2, seen before
    RequestConflict = "CA-0401" Station, "the request id was used for other facts", "要求番号が別の内容で使われています", "start the unit anew; report it", "最初からやり直し、報告してください";
    KeySeen = "CA-0402" Unit, "the fixed key is bound already", "固定鍵はすでに登録済みです", "take the unit out: cloned or used chip", "取り外してください。複製か使用済みです";
    UidSeen = "CA-0403" Unit, "a chip with this UID is bound already", "この UID のチップは登録済みです", "take the unit out: cloned or used chip", "取り外してください。複製か使用済みです";
    SerialSeen = "CA-0404" Unit, "the serial belongs to another live unit", "製造番号は別の機器が使用中です", "check the label for a duplicate", "ラベルの重複を確認してください";
    Voided = "CA-0405" Unit, "the unit was voided", "この機器は無効にされています", "do not ship; scrap the unit", "出荷せず廃棄してください";
    NotHolder = "CA-0406" Station, "another station took this unit over", "別のステーションが引き継いでいます", "finish the unit at that station", "そのステーションで続けてください";
    NotBound = "CA-0407" Station, "nothing is bound under this request", "この要求では登録がありません", "provision the unit first", "先に発行してください";
    DocumentConflict = "CA-0408" Policy, "this document, or another of its name, is in force", "この文書、または同名の別の文書がすでに有効です", "give the document a name of its own, or go on with the one in force", "別の名前を付けるか、有効な文書を使ってください";
    ChipScrapped = "CA-0409" Unit, "the chip was scrapped", "このチップは廃棄済みです", "do not use it; look where it came from", "使用せず、出所を確認してください";
    OtherSuperseded = "CA-0410" Station, "the board that the unit is to replace is not the last one with this serial, or still in use", "交換前の基板がこの製造番号の最後の基板ではないか、まだ使用中です", "void or scrap the board that has the serial, then start the unit anew", "その番号の基板を無効または廃棄してからやり直してください";
    AdoptedOften = "CA-0411" Station, "the unit was taken over as often as it may", "引き継ぎの上限に達しました", "have the CA operator void the unit; scrap it", "CA 運用者に無効化を依頼し、廃棄してください";
    // CA-05xx: confirm
    ConfirmMismatch = "CA-0501" Unit, "what the chip confirms is not what was issued", "チップの確認内容が発行内容と違います", "write the certificate again; else void the unit", "証明書を書き直し、だめなら無効にしてください";
    ConfirmSignature = "CA-0502" Unit, "the chip's confirmation is not signed by the bound key", "確認の署名が正しくありません", "void the unit", "機器を無効にしてください";
    Alarmed = "CA-0503" Ca, "the signer set this unit aside", "署名装置がこの機器を保留しました", "hold the unit; call the CA operator", "保留し、CA 運用者に連絡してください";
    // CA-09xx: the CA itself
    Stopped = "CA-0901" Ca, "the CA has stopped issuing", "CA は発行を停止しています", "wait; call the CA operator", "待機し、CA 運用者に連絡してください";
    HsmUnavailable = "CA-0902" Ca, "the CA's HSM does not answer", "CA の HSM が応答しません", "wait; the request can be sent again", "待機後、同じ要求を再送できます";
    StoreUnavailable = "CA-0903" Ca, "the CA cannot write its store", "CA の保存装置に書けません", "wait; call the CA operator", "待機し、CA 運用者に連絡してください";
    LogAhead = "CA-0904" Ca, "a peer has seen a newer log than this CA holds", "CA のログより新しいログが存在します", "issuing stops; the operator follows the restore ceremony", "発行停止。復旧手順に従ってください";
    ClockBackward = "CA-0905" Ca, "the CA's clock runs behind its log", "CA の時計がログより遅れています", "set the CA's clock, then run `ca-server clock confirm`", "CA の時計を合わせ、`ca-server clock confirm` を実行してください";
    ClockForward = "CA-0906" Ca, "the CA's clock runs far ahead of its log, or of a station's clock", "CA の時計がログまたはステーションより大きく進んでいます", "set the CA's clock, then run `ca-server clock confirm`", "CA の時計を合わせ、`ca-server clock confirm` を実行してください";
    Internal = "CA-0999" Ca, "the CA failed in an unexpected way", "CA の内部エラーです", "send the same request again; call the CA operator", "同じ要求を再送し、CA 運用者に連絡してください";
    // LINE-01xx: chip in the socket
    NoChip = "LINE-0101" Station, "no chip answers in the socket", "ソケットのチップが応答しません", "seat the unit again; then change the socket", "差し直し、だめならソケットを交換してください";
    ChipWrongPart = "LINE-0102" Unit, "the chip in the socket is another part than the product's", "チップの品番が製品と違います", "take the unit out; check the reel", "取り外し、リールを確認してください";
    ChipWrongUid = "LINE-0103" Unit, "the chip's UID does not have the product's form", "チップ UID の形式が違います", "take the unit out", "取り外してください";
    ChipNotBlank = "LINE-0104" Unit, "the chip was burnt before and not in this session", "使用済みのチップです", "take the unit out: used chip", "取り外してください。使用済みです";
    ChipTorn = "LINE-0105" Unit, "the chip's lock word is torn", "チップの書き込みが不完全です", "scrap the unit", "廃棄してください";
    ChipNotGenuine = "LINE-0106" Unit, "no pinned vendor endorses this chip", "正規のチップではありません", "take the unit out; check the reel", "取り外し、リールを確認してください";
    ChipSwapped = "LINE-0107" Unit, "another chip is in the socket than the journal says", "ジャーナルと違うチップが入っています", "put the right unit back in", "正しい機器を戻してください";
    TransportInvalid = "LINE-0108" Unit, "the chip's transport key is not authentic", "転送鍵を確認できません", "take the unit out", "取り外してください";
    BurnFailed = "LINE-0109" Unit, "the key could not be burnt", "鍵の書き込みに失敗しました", "take the unit out; watch the socket's yield", "取り外し、ソケットの歩留まりを確認してください";
    ReadbackPossible = "LINE-0110" Unit, "the chip gave its fixed key out", "固定鍵が読み出せてしまいます", "scrap the unit; stop the reel", "廃棄し、リールを止めてください";
    CertificateReadback = "LINE-0111" Unit, "the certificate read back is not the one written", "書き込んだ証明書が一致しません", "take the unit out", "取り外してください";
    ChipRefused = "LINE-0112" Unit, "the chip refused the step", "チップが手順を拒否しました", "take the unit out", "取り外してください";
    // LINE-02xx: station
    LineHsm = "LINE-0201" Station, "the line HSM does not answer", "ライン HSM が応答しません", "check the HSM and its PIN file", "HSM と PIN を確認してください";
    Journal = "LINE-0202" Station, "the station cannot write its journal", "ジャーナルに書けません", "free the disk, then start again", "ディスクを空けて再開してください";
    CaUnreachable = "LINE-0203" Ca, "the CA cannot be reached", "CA に接続できません", "leave the unit on hold; it resumes by itself", "保留のまま待ってください。自動で再開します";
    ProofInvalid = "LINE-0204" Peer, "the CA's certificate or proof does not verify", "CA の証明書か証明を検証できません", "stop the line; call the CA operator", "ラインを停止し、CA 運用者に連絡してください";
    LotFile = "LINE-0205" Station, "the lot file cannot be read", "ロットファイルを読めません", "mend the line and column named", "示された行と列を直してください";
    Config = "LINE-0206" Station, "the settings are wrong", "設定が正しくありません", "run `doctor` and mend what it names", "`doctor` を実行し、示された点を直してください";
    Interrupted = "LINE-0207" Station, "the unit was interrupted", "中断されました", "start again; the unit resumes", "再開すると続きから始まります";
    DuplicateUid = "LINE-0208" Unit, "two units with one chip UID in this session", "同じ UID のチップが二つあります", "take both out: one is a clone", "両方取り外してください。複製です";
    AgentAltered = "LINE-0209" Peer, "this program is not the one that the settings pin", "ライン端末のソフトが登録されたものと違います", "stop; install the program that was released for this station", "停止し、このステーション用の正規ソフトを入れ直してください";
    LotWouldDiffer = "LINE-0210" Station, "the lot would close with a difference, and stays open", "差異があるため、ロットはまだ締め切っていません", "close it with the lot file that it was made from and the shares of all its stations; a difference that is known and true is named with the numbers shown, as --differs", "製造に使ったロットファイルと全ステーションの分担ファイルで締め切ってください。差異が確認済みなら、表示された数を --differs で示してください";
    SocketEmpty = "LINE-0211" Station, "units are left and no chip is in any socket", "未着手の機器がありますが、どのソケットにもチップがありません", "put chips into the sockets, then start the run again", "ソケットにチップを入れてから、もう一度開始してください";
    CaOlder = "LINE-0212" Ca, "the CA is older than this line agent and cannot do this", "CA がこのライン端末のソフトより古いため、実行できません", "have the CA upgraded first, then run the command again", "先に CA を更新してもらい、もう一度実行してください";
    AgentBusy = "LINE-0213" Station, "another line agent works at this station", "このステーションでは別のライン端末ソフトが動いています", "end the other line agent of this station, or wait until it has ended", "別のライン端末ソフトを終了するか、終わるまで待ってください";
    AttemptsUsedUp = "LINE-0220" Unit, "the unit failed as often as it may", "やり直しの上限に達しました", "scrap the unit", "この機器を廃棄してください";
}

impl Fault {
    /// Stable code.
    #[must_use]
    pub const fn code(self) -> &'static str {
        self.text().code
    }

    /// Who is at fault.
    #[must_use]
    pub const fn blame(self) -> Blame {
        self.text().blame
    }

    /// Reads [`Self::code`] back.
    #[must_use]
    pub fn from_code(code: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|fault| fault.code() == code)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.text();
        write!(f, "{}: {}", text.code, text.en)
    }
}

impl core::error::Error for Fault {}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::BTreeSet;

    #[test]
    fn codes_are_unique_and_can_be_read_back() {
        let codes: BTreeSet<_> = Fault::ALL.iter().map(|fault| fault.code()).collect();
        assert_eq!(codes.len(), Fault::ALL.len());
        for fault in Fault::ALL {
            assert_eq!(Fault::from_code(fault.code()), Some(*fault));
        }
    }
}
